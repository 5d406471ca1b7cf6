"""The client of AmoCRM's REST API v4: one request at a time in the whole system, at most six a second, and what
became of the last ones in a row that every process reads.

A request is made under a PostgreSQL advisory lock, which is kept until INTERVAL_SECONDS after its start: so pacing
needs no shared counter, whoever asks — a worker's loops, a second worker, a command — and whoever dies. What AmoCRM
answers to everybody (a refused token, a block, an outage) pauses everybody, with growing delay.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import httpx
import structlog
from django.conf import settings
from django.db import connection
from django.db.models import F, Value
from django.db.models.functions import Coalesce, Now

from webhooks.models import ApiState

log = structlog.get_logger("webhooks")

# "onai" in bytes and a number: PostgreSQL's advisory locks share one space of integers in a database.
LOCK = 0x6F6E6169_00000004
# AmoCRM allows 7 a second. Six leave room for one whose process died before it could wait.
INTERVAL_SECONDS = 0.17
TIMEOUT = httpx.Timeout(20, connect=5)
LEADS_PAGE = 250
EVENTS_PAGE = 100
# Ids in one request: some 25 characters each, and servers take addresses of 8 kB.
MOST_IDS = 100
# The same of the record of events.
MOST_ENTITIES = 10
# A listing that is longer than this does not end: a page that names itself as the next one.
MOST_PAGES = 10_000

Item = dict[str, Any]
Trouble = ApiState.Trouble

# Seconds of silence after the first, second, … failure in a row.
DELAYS: Mapping[str, Sequence[int]] = {
    Trouble.TOKEN: (60, 300, 600),
    Trouble.UNPAID: (600, 1800),
    # Asking while blocked makes the block longer.
    Trouble.BLOCKED: (20, 60, 120, 300, 600),
    Trouble.TOO_MANY: (2, 5, 15, 60, 120, 300),
    Trouble.AWAY: (1, 5, 15, 60, 120, 300),
}


class ApiError(Exception):
    """AmoCRM did not give what was asked for; the text says why."""


class Unavailable(ApiError):
    """Nobody can ask now: see `trouble`. Asking later may help."""

    def __init__(self, trouble: str, detail: str) -> None:
        super().__init__(detail)
        self.trouble = trouble


class Refused(ApiError):
    """AmoCRM does not take this very request. Asking it again will not help; others are not concerned."""


def configured() -> bool:
    """Return whether the API may be asked at all. Without it everything else works."""
    return bool(settings.AMOCRM_BASE_URL and settings.AMOCRM_ACCESS_TOKEN)


class Api:
    """Asks AmoCRM; use it as a context manager. Never inside a transaction: an answer may take TIMEOUT.

    `patience` is for how many seconds a method waits in all for a pause to end, or an outage, before it raises
    Unavailable; `stop` ends the waiting. `asked_at` is when the last request that was answered left, by the clock that
    dates deliveries.
    """

    asked_at: datetime

    def __init__(self, *, patience: float = 0, stop: threading.Event | None = None) -> None:
        self._http = httpx.Client(
            base_url=f"{settings.AMOCRM_BASE_URL.rstrip('/')}/api/v4",
            headers={"Authorization": f"Bearer {settings.AMOCRM_ACCESS_TOKEN}"},
            timeout=TIMEOUT,
            follow_redirects=False,
        )
        self._patience = patience
        self._stop = stop or threading.Event()

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *exc: object) -> None:
        self._http.close()

    def leads(self, ids: Sequence[int], *, deleted: bool = False) -> list[Item]:
        """Return the deals of these ids (at most MOST_IDS) that AmoCRM has, with their contacts' ids.

        Deleted ones are left out; with `deleted` only those that can still be restored are returned, and they say
        nothing but their id, `updated_at` and `is_deleted`.
        """
        params = {"with": "only_deleted" if deleted else "contacts", "limit": LEADS_PAGE, **_ids(ids)}
        return [lead for page in self._pages("/leads", "leads", params) for lead in page]

    def won_leads(self, pipeline_id: int, since: datetime, until: datetime) -> Iterator[list[Item]]:
        """Yield, a page at a time, the deals that stand in "won" of a pipeline and were closed in this time."""
        status = "filter[statuses][0]"
        return self._pages(
            "/leads",
            "leads",
            {
                "with": "contacts",
                "limit": LEADS_PAGE,
                "order[id]": "asc",
                f"{status}[pipeline_id]": pipeline_id,
                f"{status}[status_id]": 142,
                "filter[closed_at][from]": int(since.timestamp()),
                "filter[closed_at][to]": int(until.timestamp()),
            },
        )

    def events(
        self, kind: str, since: datetime, until: datetime, *, stage: tuple[str, int, int] | None = None
    ) -> Iterator[list[Item]]:
        """Yield, a page at a time, the events of one kind (`lead_status_changed`, `lead_deleted`, …) of this time.

        `stage` narrows changes of the stage down: (`value_after` or `value_before`, pipeline, stage).
        """
        params: dict[str, Any] = {
            "limit": EVENTS_PAGE,
            "filter[type]": kind,
            "filter[created_at][from]": int(since.timestamp()),
            "filter[created_at][to]": int(until.timestamp()),
        }
        if stage is not None:
            side, pipeline_id, status_id = stage
            params |= {
                f"filter[{side}][leads_statuses][0][pipeline_id]": pipeline_id,
                f"filter[{side}][leads_statuses][0][status_id]": status_id,
            }
        return self._pages("/events", "events", params)

    def moves(self, ids: Sequence[int]) -> list[Item]:
        """Return every change of the stage that AmoCRM's record has of these deals (at most MOST_ENTITIES)."""
        if len(ids) > MOST_ENTITIES:
            raise ValueError(f"{len(ids)} ids are more than {MOST_ENTITIES}")
        params = {"limit": EVENTS_PAGE, "filter[type]": "lead_status_changed", "filter[entity]": "lead"}
        params |= {f"filter[entity_id][{index}]": number for index, number in enumerate(ids)}
        return [item for page in self._pages("/events", "events", params) for item in page]

    def contacts(self, ids: Sequence[int]) -> list[Item]:
        """Return the contacts of these ids (at most MOST_IDS) that AmoCRM has."""
        return [
            one for page in self._pages("/contacts", "contacts", {"limit": LEADS_PAGE, **_ids(ids)}) for one in page
        ]

    def pipelines(self) -> list[Item]:
        """Return the account's pipelines."""
        return _items(self._ask("GET", "/leads/pipelines", listing="pipelines"), "pipelines")

    def webhooks(self) -> list[Item]:
        """Return the account's hooks: `destination`, `settings`, `disabled` …"""
        return _items(self._ask("GET", "/webhooks", listing="webhooks"), "webhooks")

    def add_webhook(self, destination: str, events: Sequence[str]) -> None:
        """Make a hook, or give the one of this destination these events."""
        self._ask("POST", "/webhooks", json={"destination": destination, "settings": list(events)})

    def remove_webhook(self, destination: str) -> None:
        """Remove the hook of this destination."""
        self._ask("DELETE", "/webhooks", json={"destination": destination})

    def _pages(self, path: str, name: str, params: Mapping[str, Any]) -> Iterator[list[Item]]:
        """Yield page after page until the last one. A page that cannot be had is raised: never a shorter list."""
        for page in range(1, MOST_PAGES + 1):
            answer = self._ask("GET", path, listing=name, params={**params, "page": page})
            items = _items(answer, name)
            if items:
                yield items
            links = answer.get("_links")
            if not items or not isinstance(links, dict) or not links.get("next"):
                return
        raise Refused(f"{path} does not end after {MOST_PAGES} pages")

    def _ask(self, method: str, path: str, *, listing: str = "", **request: Any) -> Item:
        """Return the answer, {} where AmoCRM has nothing; a `listing` has a list of that name.

        Raises Unavailable or Refused.
        """
        deadline = time.monotonic() + self._patience
        while True:
            with _turn() as asked_at:
                seconds, problem = _pause()
                if problem is None:
                    try:
                        answer = self._request(method, path, listing, **request)
                        _succeeded()
                        self.asked_at = asked_at
                        return answer
                    except Unavailable as error:
                        problem = error
                        seconds = _failed(error)
            if time.monotonic() + seconds > deadline or self._stop.wait(seconds):
                raise problem

    def _request(self, method: str, path: str, listing: str, **request: Any) -> Item:
        try:
            response = self._http.request(method, path, **request)
        except httpx.TransportError as error:
            raise Unavailable(Trouble.AWAY, f"{type(error).__name__}: {error}"[:300]) from error
        status = response.status_code
        if status in _TROUBLES:
            raise Unavailable(_TROUBLES[status], f"{method} {path}: {status}")
        if status == 408 or status >= 500:
            raise Unavailable(Trouble.AWAY, f"{method} {path}: {status}")
        if not 200 <= status < 300:
            raise Refused(f"{method} {path}: {status}")
        if status == 204 or (method != "GET" and not response.content):
            return {}
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or (listing and not _has_list(answer, listing)):
            what = f"has no list of {listing}" if listing else "is no JSON object"
            raise Unavailable(Trouble.AWAY, f"{method} {path}: {status}, but the answer {what}")
        return answer


_TROUBLES = {401: Trouble.TOKEN, 402: Trouble.UNPAID, 403: Trouble.BLOCKED, 429: Trouble.TOO_MANY}


@contextmanager
def _turn() -> Iterator[datetime]:
    """Wait for this system's turn to ask; keep it for INTERVAL_SECONDS at least. Yields when it began."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        cursor.execute("SELECT clock_timestamp()")
        (began_at,) = cursor.fetchone()
    started = time.monotonic()
    try:
        yield began_at
    finally:
        time.sleep(max(0.0, started + INTERVAL_SECONDS - time.monotonic()))
        # A lost connection has lost the lock already.
        if connection.connection is not None and not connection.connection.closed:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])


def paused_seconds() -> float:
    """Return for how many seconds nobody may ask; 0 when one may."""
    return _pause()[0]


def _pause() -> tuple[float, Unavailable | None]:
    """Return for how many seconds nobody may ask, and why; (0, None) when one may."""
    row = (
        ApiState.objects.filter(paused_until__gt=Now())
        .annotate(left=F("paused_until") - Now())
        .values_list("left", "trouble", "detail")
        .first()
    )
    return (0.0, None) if row is None else (row[0].total_seconds(), Unavailable(row[1], row[2]))


def _succeeded() -> None:
    ApiState.objects.filter(failures__gt=0).update(
        failures=0, failed_since=None, paused_until=None, trouble="", detail=""
    )


def _failed(error: Unavailable) -> int:
    """Write a failure down, for everybody; return for how many seconds nobody asks now."""
    state, _ = ApiState.objects.get_or_create(pk=ApiState.ONLY)
    delays = DELAYS[error.trouble]
    # Another trouble begins with its own first delay.
    failures = state.failures + 1 if state.trouble == error.trouble else 1
    seconds = delays[min(failures, len(delays)) - 1]
    ApiState.objects.filter(pk=ApiState.ONLY).update(
        failures=failures,
        failed_since=Coalesce(F("failed_since"), Now()),
        paused_until=Now() + Value(timedelta(seconds=seconds)),
        trouble=error.trouble,
        detail=str(error),
    )
    log.warning("AmoCRM API: unavailable", trouble=str(error.trouble), detail=str(error), seconds=seconds)
    return seconds


def _ids(ids: Sequence[int]) -> dict[str, int]:
    if len(ids) > MOST_IDS:
        raise ValueError(f"{len(ids)} ids are more than {MOST_IDS}")
    return {f"filter[id][{index}]": number for index, number in enumerate(ids)}


def _has_list(answer: Item, name: str) -> bool:
    embedded = answer.get("_embedded")
    return isinstance(embedded, dict) and isinstance(embedded.get(name), list)


def _items(answer: Item, name: str) -> list[Item]:
    return [item for item in answer["_embedded"][name] if isinstance(item, dict)] if answer else []
