"""The door: check the secret and the size, store, answer. Nothing else happens on this path (law 1)."""

from __future__ import annotations

import hmac
import ipaddress
import json
import os
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_plus

import structlog
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from rest_framework.decorators import api_view, authentication_classes, permission_classes
from rest_framework.request import Request
from rest_framework.response import Response

from webhooks import store
from webhooks.amocrm import form
from webhooks.models import WebhookRefusal
from webhooks.registry import Endpoint

log = structlog.get_logger("webhooks")

VERSION = "1.0.0"
ALLOWED_METHODS = "GET, HEAD, POST"
# They may hold what is nobody's business.
UNSTORED_HEADERS = {"HTTP_COOKIE", "HTTP_AUTHORIZATION"}
# Some servers put the process's own environment among the headers.
ENVIRONMENT = frozenset(name for name in os.environ if name.startswith("HTTP_"))


@csrf_exempt
def receive_delivery(request: HttpRequest, endpoint: Endpoint) -> HttpResponse:
    """Store what AmoCRM posts and answer 200 once it is committed.

    403 wrong or missing `?key=` (when AMOCRM_WEBHOOK_SECRETS has any), 413 over 1 MiB, 400 a body that is neither form
    nor JSON (stored as `invalid`), 503 the database did not take it: AmoCRM will send it again.
    """
    if request.method in ("GET", "HEAD"):
        return _answer(endpoint, 200, success=True, message=endpoint.message)
    if request.method != "POST":
        response = _refuse(endpoint, 405, f"{request.method} is not allowed here; POST a delivery")
        response.headers["Allow"] = ALLOWED_METHODS
        return response
    key, query = _split_key(request.META.get("QUERY_STRING", ""))
    if not _is_valid(key):
        store.count_refusal(endpoint.source, WebhookRefusal.Reason.SECRET)
        return _refuse(endpoint, 403, "wrong or missing secret: the URL must end with ?key=<one of the secrets>")
    try:
        body = _read(request)
    except OSError:
        return _refuse(endpoint, 400, "the body broke off")
    if body is None:
        return _refuse(endpoint, 411, "send a Content-Length")
    if len(body) > settings.WEBHOOK_MAX_BYTES:
        store.count_refusal(endpoint.source, WebhookRefusal.Reason.TOO_LARGE)
        return _refuse(endpoint, 413, f"the body is larger than {settings.WEBHOOK_MAX_BYTES} bytes")

    content_type = request.META.get("CONTENT_TYPE", "")[:255]
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
            headers=_headers(request),
            query=query,
            remote_addr=_remote_addr(request),
            error_message=error,
        )
    except store.NotStored as not_stored:
        log.error(f"{endpoint.title} Webhook: not stored", error=str(not_stored))
        return _refuse(endpoint, 503, "the delivery could not be stored; send it again", logged=True)
    if error:
        return _refuse(endpoint, 400, error, delivery=delivery_id)
    log.info(f"{endpoint.title} Webhook: stored", delivery=delivery_id, bytes=len(body))
    return _answer(endpoint, 200, success=True, delivery=delivery_id)


@api_view(["GET"])
@authentication_classes([])
@permission_classes([])
def test_endpoint(request: Request, endpoint: Endpoint) -> Response:
    """Say that the endpoint is there, with the keys that the contract names and no other."""
    return Response(
        {
            "success": True,
            "message": endpoint.message,
            "endpoint": endpoint.path,
            "timestamp": _now(),
            "version": VERSION,
            **endpoint.details(),
        }
    )


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


def _read(request: HttpRequest) -> bytes | None:
    """Return the body, at most one byte over the limit; None where its length cannot be known.

    Django takes a chunked body for an empty one, so it is read from the server's own stream.
    """
    limit = settings.WEBHOOK_MAX_BYTES + 1
    if request.META.get("HTTP_TRANSFER_ENCODING"):
        environ: dict[str, Any] = getattr(request, "environ", {})
        if not environ.get("wsgi.input_terminated"):
            return None
        return bytes(environ["wsgi.input"].read(limit))
    return bytes(request.read(limit))


def _headers(request: HttpRequest) -> str:
    """Return the request's headers as a JSON object, without cookies and credentials."""
    return json.dumps(
        {
            _header_name(name): value
            for name, value in request.META.items()
            if name.startswith("HTTP_") and name not in UNSTORED_HEADERS and name not in ENVIRONMENT
        }
    )


@lru_cache(maxsize=256)
def _header_name(name: str) -> str:
    """Return a header's name from WSGI's: HTTP_USER_AGENT is User-Agent."""
    return name.removeprefix("HTTP_").replace("_", "-").title()


def _remote_addr(request: HttpRequest) -> str | None:
    """Return the sender's address; behind our proxy, what the proxy itself appended."""
    address = request.META.get("REMOTE_ADDR", "")
    if settings.BEHIND_PROXY:
        address = request.META.get("HTTP_X_FORWARDED_FOR", address).rsplit(",", 1)[-1].strip()
    return _valid_address(address)


@lru_cache(maxsize=1024)
def _valid_address(address: str) -> str | None:
    try:
        return str(ipaddress.ip_address(address.split("%")[0]))
    except ValueError:
        return None


def _refuse(endpoint: Endpoint, status: int, error: str, *, logged: bool = False, **values: Any) -> HttpResponse:
    if not logged:
        log.warning(f"{endpoint.title} Webhook: refused", status=status, error=error, **values)
    return _answer(endpoint, status, success=False, error=error, **values)


def _answer(endpoint: Endpoint, status: int, **values: Any) -> HttpResponse:
    text = json.dumps({**values, "endpoint": endpoint.path, "timestamp": _now()}).encode()
    response = HttpResponse(
        text, status=status, content_type="application/json", headers={"Content-Length": str(len(text))}
    )
    response._csp_exempt = True  # type: ignore[attr-defined]  # JSON shows nothing; the header costs a fifth of the time
    return response


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
