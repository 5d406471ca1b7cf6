"""The one INSERT that a 200 stands for (law 1), with a deadline, and the count of what was refused.

It talks to libpq (psycopg.pq) rather than through a cursor: one call, a prepared statement on the thread's own
connection. libpq waits for ever when PostgreSQL takes a query and never answers, so a watch cuts off whoever waits too
long.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import weakref
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, ClassVar

import psycopg
from django.db import DatabaseError, connection, transaction
from django.db.models import F
from psycopg import pq

from webhooks.models import Source, WebhookRefusal

# AmoCRM waits 2 s and then counts a failure. A connection that must be opened first has 2 s of its own (settings).
ANSWER_SECONDS = 1.0
WATCH_SECONDS = 0.1

_STATEMENT = b"store_webhook_delivery"
_INSERT = b"""
INSERT INTO webhook_deliveries (source, body, content_type, headers, query, remote_addr, status, error_message)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING id
"""
_FORMATS = [pq.Format.TEXT, pq.Format.BINARY, *[pq.Format.TEXT] * 6]
_prepared: weakref.WeakSet[Any] = weakref.WeakSet()


class NotStored(Exception):
    """The delivery is not in the database, so the sender must send it again; the text says why."""


class _Hanging(NotStored):
    """PostgreSQL took the query and did not answer in time."""


def store_delivery(
    *,
    source: str,
    body: bytes,
    content_type: str,
    headers: str,
    query: str,
    remote_addr: str | None,
    error_message: str = "",
) -> int:
    """Store one delivery, committed, and return its id. `headers` is a JSON object; an error makes it `invalid`.

    A stale connection is opened again and the INSERT repeated once: should both have arrived, the deal's merge does
    not mind. Raises NotStored within 2 s where the database refuses, within 3 s where it hangs.
    """
    values = [
        source.encode(),
        body,
        content_type.encode(),
        headers.encode(),
        query.encode(),
        remote_addr.encode() if remote_addr else None,
        b"invalid" if error_message else b"received",
        error_message.encode(),
    ]
    was_open = connection.connection is not None
    try:
        try:
            return _insert(values)
        except (DatabaseError, psycopg.Error):
            connection.close()
            if not was_open:  # it was refused just now
                raise
            return _insert(values)
    except _Hanging:
        connection.close()
        raise
    except (DatabaseError, psycopg.Error) as error:
        connection.close()
        raise NotStored(f"{type(error).__name__}: {error}".strip()) from error


def _insert(values: list[bytes | None]) -> int:
    connection.ensure_connection()
    session = connection.connection
    if not session.autocommit:
        session.execute("SELECT 1")  # a caller's transaction: psycopg begins it with the first statement of its own
    pgconn = session.pgconn
    with _Deadline(pgconn):
        if session not in _prepared:
            _check(pgconn.prepare(_STATEMENT, _INSERT))
            _prepared.add(session)
        result = _check(pgconn.exec_prepared(_STATEMENT, values, _FORMATS))
    return int(result.get_value(0, 0) or 0)


def _check(result: Any) -> Any:
    """Return the result. Raises psycopg.OperationalError with PostgreSQL's words where it is an error."""
    if result.status not in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK):
        raise psycopg.OperationalError(result.error_message.decode("utf-8", "replace").strip())
    return result


class _Deadline:
    """Within it libpq's calls on this connection end after ANSWER_SECONDS. Raises _Hanging where they were ended."""

    _waiting: ClassVar[dict[Any, float]] = {}
    _lock: ClassVar[threading.Lock] = threading.Lock()
    _watch: ClassVar[threading.Thread] = threading.Thread()

    def __init__(self, pgconn: Any) -> None:
        self.pgconn = pgconn

    def __enter__(self) -> None:
        with self._lock:
            self._waiting[self.pgconn] = time.monotonic() + ANSWER_SECONDS
            if not self._watch.is_alive():  # the first delivery of this process
                _Deadline._watch = threading.Thread(target=self._cut_off_forever, daemon=True, name="store-watch")
                self._watch.start()

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        with self._lock:
            deadline = self._waiting.pop(self.pgconn)
        if error is not None and deadline <= time.monotonic():
            raise _Hanging(f"PostgreSQL gave no answer within {ANSWER_SECONDS:g} s") from error

    @classmethod
    def _cut_off_forever(cls) -> None:
        while True:
            time.sleep(WATCH_SECONDS)
            # With the lock held no connection can leave, be closed and give its number to another.
            with cls._lock:
                for pgconn, deadline in cls._waiting.items():
                    if deadline <= time.monotonic():
                        with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(pgconn.socket)) as wire:
                            wire.shutdown(socket.SHUT_RDWR)


def count_refusal(source: Source, reason: WebhookRefusal.Reason) -> None:
    """Add one to this hour's count of refused requests. The refusal stands whether or not it could be counted."""
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    try:
        with transaction.atomic():
            WebhookRefusal.objects.bulk_create(
                [WebhookRefusal(hour=hour, source=source, reason=reason, count=0)], ignore_conflicts=True
            )
            WebhookRefusal.objects.filter(hour=hour, source=source, reason=reason).update(count=F("count") + 1)
    except DatabaseError:
        connection.close()
