"""The one INSERT that a 200 stands for (law 1), with a deadline, and the count of what was refused.

It talks to libpq (psycopg.pq) rather than through a cursor for two reasons: a prepared statement on the thread's own
connection, and a deadline that holds when PostgreSQL accepts a query and never answers, where a cursor waits for ever.
"""

from __future__ import annotations

import select
import time
import weakref
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import psycopg
from django.db import DatabaseError, connection, transaction
from django.db.models import F
from psycopg import pq

from webhooks.models import Source, WebhookRefusal

# AmoCRM waits 2 s and then counts a failure. A connection that must be opened first has 2 s of its own (settings).
ANSWER_SECONDS = 1.0

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
    deadline = time.monotonic() + ANSWER_SECONDS
    if session not in _prepared:
        _exchange(session.pgconn, lambda pgconn: pgconn.send_prepare(_STATEMENT, _INSERT), deadline)
        _prepared.add(session)
    result = _exchange(
        session.pgconn, lambda pgconn: pgconn.send_query_prepared(_STATEMENT, values, _FORMATS), deadline
    )
    return int(result.get_value(0, 0) or 0)


def _exchange(pgconn: Any, send: Callable[[Any], None], deadline: float) -> Any:
    """Send one command and return its result. Raises _Hanging at the deadline, psycopg.Error for anything else."""
    send(pgconn)
    poll = select.poll()
    busy = True
    while busy:
        unsent = pgconn.flush()
        poll.register(pgconn.socket, select.POLLIN | (select.POLLOUT if unsent else 0))
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise _Hanging(f"PostgreSQL gave no answer within {ANSWER_SECONDS:g} s")
        pgconn.consume_input()
        busy = bool(unsent) or pgconn.is_busy()
    result = pgconn.get_result()
    while pgconn.get_result() is not None:
        pass
    if result is None or result.status not in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK):
        message = (result.error_message if result is not None else pgconn.error_message).decode("utf-8", "replace")
        raise psycopg.OperationalError(message.strip())
    return result


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
