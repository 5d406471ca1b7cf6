"""The door: check the secret and the size, store, answer. Nothing else happens on this path (law 1).

It stands before Django, as WSGI: Django's request, response, signals and middleware are for people, and cost more than
the INSERT. Settings, logs and the connection are Django's. The URLconf has the same answer as a view (views.py).
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import threading
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime
from functools import lru_cache
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

import orjson
import structlog
from django.conf import settings

from webhooks import registry, store
from webhooks.amocrm import form
from webhooks.models import WebhookRefusal
from webhooks.registry import Endpoint

log = structlog.get_logger("webhooks")

ALLOWED_METHODS = "GET, HEAD, POST"
# They may hold what is nobody's business.
UNSTORED_HEADERS = {"HTTP_COOKIE", "HTTP_AUTHORIZATION"}
# Some servers put the process's own environment among the headers.
ENVIRONMENT = frozenset(name for name in os.environ if name.startswith("HTTP_"))

# People's pages may wait for the database for ever; two of a process's threads are always left for deliveries.
_others = threading.BoundedSemaphore(store.MOST - 2)

Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


class Answer(NamedTuple):
    """What a sender gets: JSON, whatever happened."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


def before(application: Application, *, never_busy: Collection[str] = ()) -> Application:
    """Return a WSGI application that answers the endpoints' addresses itself and leaves all others to this one.

    Of those others the paths that are `never_busy` wait for nothing, and are answered however many pages hang.
    """
    doors = registry.doors()

    def door(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        endpoint = doors.get(environ["PATH_INFO"])
        if environ["PATH_INFO"] in never_busy:
            return application(environ, start_response)
        if endpoint is None:
            if not _others.acquire(blocking=False):
                return _too_busy(start_response)
            try:
                return application(environ, start_response)
            finally:
                _others.release()
        answer = receive_delivery(environ, endpoint)
        start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", answer.headers)
        return [answer.body]

    return door


def _too_busy(start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("503 Service Unavailable", [("Content-Type", "text/plain"), ("Retry-After", "5")])
    return [b"busy\n"]


def receive_delivery(environ: Environ, endpoint: Endpoint) -> Answer:
    """Store what AmoCRM posts and answer 200 once it is committed.

    403 wrong or missing `?key=` (when AMOCRM_WEBHOOK_SECRETS has any), 413 over 1 MiB, 411 in chunks, 400 a body
    that is neither form nor JSON (stored as `invalid`), 503 the database did not take it: AmoCRM will send it again.
    """
    try:
        return _receive(environ, endpoint)
    except Exception as error:  # nothing is stored, so the sender must not take it for done
        log.exception(f"{endpoint.title} Webhook: not stored", error=type(error).__name__)
        return _refuse(endpoint, 503, "the delivery could not be stored; send it again", logged=True)


def _receive(environ: Environ, endpoint: Endpoint) -> Answer:
    method = environ["REQUEST_METHOD"]
    if method in ("GET", "HEAD"):
        return _answer(endpoint, 200, success=True, message=endpoint.message)
    if method != "POST":
        refusal = _refuse(endpoint, 405, f"{method} is not allowed here; POST a delivery")
        refusal.headers.append(("Allow", ALLOWED_METHODS))
        return refusal
    key, query = _split_key(environ.get("QUERY_STRING", ""))
    if not _is_valid(key):
        store.count_refusal(endpoint.source, WebhookRefusal.Reason.SECRET)
        return _refuse(endpoint, 403, "wrong or missing secret: the URL must end with ?key=<one of the secrets>")
    try:
        body = _read(environ)
    except OSError:
        return _refuse(endpoint, 400, "the body broke off")
    if body is None:
        return _refuse(endpoint, 411, "send a Content-Length")
    if len(body) > settings.WEBHOOK_MAX_BYTES:
        store.count_refusal(endpoint.source, WebhookRefusal.Reason.TOO_LARGE)
        return _refuse(endpoint, 413, f"the body is larger than {settings.WEBHOOK_MAX_BYTES} bytes")

    content_type = environ.get("CONTENT_TYPE", "")[:255]
    error = ""
    if form.needs_a_look(body, content_type):
        try:
            form.decode(body, content_type)
        except form.BodyError as body_error:
            error = str(body_error)
    try:
        delivery_id = store.store_delivery(
            source=endpoint.source,
            body=body,
            content_type=content_type,
            headers=_headers(environ),
            query=query,
            remote_addr=_remote_addr(environ),
            error_message=error,
        )
    except store.NotStored as not_stored:
        log.error(f"{endpoint.title} Webhook: not stored", error=str(not_stored))
        return _refuse(endpoint, 503, "the delivery could not be stored; send it again", logged=True)
    if error:
        return _refuse(endpoint, 400, error, delivery=delivery_id)
    log.info(f"{endpoint.title} Webhook: stored", delivery=delivery_id, bytes=len(body))
    return _answer(endpoint, 200, success=True, delivery=delivery_id)


def now() -> str:
    """Return the moment as answers tell it: 2025-12-20T13:22:59.549Z."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _split_key(query_string: str) -> tuple[str, str]:
    """Return the secret given in the URL and the rest of the query, which alone is stored."""
    key = ""
    rest = []
    for pair in query_string.split("&"):
        name, _, value = pair.partition("=")
        if unquote_plus(name) == "key":
            key = unquote_plus(value)
        elif pair:
            rest.append(pair)
    return key, "&".join(rest)[:1000]


def _is_valid(key: str) -> bool:
    """Compare with every secret in constant time; several are valid at once while they are being rotated."""
    given = key.encode()
    matches = [hmac.compare_digest(given, secret.encode()) for secret in settings.AMOCRM_WEBHOOK_SECRETS]
    return any(matches) or not matches


def _read(environ: Environ) -> bytes | None:
    """Return the body, at most one byte over the limit; None where its length was not announced.

    Raises OSError where less came than was announced.
    """
    limit = settings.WEBHOOK_MAX_BYTES + 1
    if environ.get("HTTP_TRANSFER_ENCODING"):  # of chunks that broke off the server gives what came, and says nothing
        return None
    length = environ.get("CONTENT_LENGTH") or "0"
    wanted = min(int(length), limit) if length.isascii() and length.isdigit() else 0
    body = bytes(environ["wsgi.input"].read(wanted)) if wanted else b""
    if len(body) < wanted:
        raise OSError("the sender went away")
    return body


def _headers(environ: Environ) -> str:
    """Return the request's headers as a JSON object, without cookies and credentials."""
    return orjson.dumps(
        {
            _header_name(name): value
            for name, value in environ.items()
            if name.startswith("HTTP_") and name not in UNSTORED_HEADERS and name not in ENVIRONMENT
        }
    ).decode()


@lru_cache(maxsize=256)
def _header_name(name: str) -> str:
    """Return a header's name from WSGI's: HTTP_USER_AGENT is User-Agent."""
    return name.removeprefix("HTTP_").replace("_", "-").title()


def _remote_addr(environ: Environ) -> str | None:
    """Return the sender's address; behind our proxy, what the proxy itself appended."""
    address: str = environ.get("REMOTE_ADDR", "")
    if settings.BEHIND_PROXY:
        address = str(environ.get("HTTP_X_FORWARDED_FOR", address)).rsplit(",", 1)[-1].strip()
    return _valid_address(address)


@lru_cache(maxsize=1024)
def _valid_address(address: str) -> str | None:
    try:
        return str(ipaddress.ip_address(address.split("%")[0]))
    except ValueError:
        return None


def _refuse(endpoint: Endpoint, status: int, error: str, *, logged: bool = False, **values: Any) -> Answer:
    if not logged:
        log.warning(f"{endpoint.title} Webhook: refused", status=status, error=error, **values)
    return _answer(endpoint, status, success=False, error=error, **values)


def _answer(endpoint: Endpoint, status: int, **values: Any) -> Answer:
    body = orjson.dumps({**values, "endpoint": endpoint.path, "timestamp": now()})
    return Answer(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))], body)
