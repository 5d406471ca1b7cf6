"""The one INSERT that a 200 stands for (law 1), with a deadline, and the count of what was refused.

What a process receives at about the same time goes into one INSERT (together.py): under load a third of the commits.
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
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, ClassVar

import psycopg
from django.db import DatabaseError, connection
from psycopg import pq

from webhooks.models import Source, WebhookRefusal
from webhooks.together import Together

# AmoCRM waits 2 s and then counts a failure. A connection that must be opened first has 2 s of its own (settings).
ANSWER_SECONDS = 1.0
WATCH_SECONDS = 0.1

# Deliveries in one INSERT; a web process has that many threads.
MOST = 8

_REFUSED = """
INSERT INTO webhook_refusals AS refusal (hour, source, reason, count) VALUES (%s, %s, %s, 1)
ON CONFLICT (hour, source, reason) DO UPDATE SET count = refusal.count + 1
"""
Values = list[bytes | None]
_COLUMNS = ("source", "body", "content_type", "headers", "query", "remote_addr", "status", "error_message")
_FORMATS = [pq.Format.BINARY if name == "body" else pq.Format.TEXT for name in _COLUMNS]
_BAD_VALUES = (psycopg.DataError, psycopg.IntegrityError)
# The numbers of rows for which a connection has a prepared statement.
_prepared: weakref.WeakKeyDictionary[Any, set[int]] = weakref.WeakKeyDictionary()

# Set while PostgreSQL hangs: one thread tries it then, and nobody who delivers waits to know.
_hangs = threading.Event()


class NotStored(Exception):
    """The delivery is not in the database, so the sender must send it again; the text says why."""


class _Refused(NotStored):
    """PostgreSQL does not take some value of the group."""


class _Hanging(NotStored):
    """PostgreSQL, or the way to it, did not answer in time."""


class _Unopened(NotStored):
    """PostgreSQL takes no further connection."""


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
    not mind. Raises NotStored within 2 s where the database refuses or begins to hang, at once while it hangs.
    """
    values: Values = [
        source.encode(),
        body,
        content_type.encode(),
        headers.encode(),
        query.encode(),
        remote_addr.encode() if remote_addr else None,
        b"invalid" if error_message else b"received",
        error_message.encode(),
    ]
    if _hangs.is_set():
        raise NotStored("PostgreSQL hangs")
    try:
        return _together.do(values)
    except _Refused:
        return _store([values])[0]  # it may have been another's value
    except _Unopened:
        if connection.connection is None:
            raise
        return _store([values])[0]  # it was another's connection


def _store(rows: Sequence[Values]) -> list[int]:
    """Store these in one statement on this thread's connection; return their ids in the same order."""
    was_open = connection.connection is not None
    try:
        try:
            return _insert(rows)
        except _BAD_VALUES:
            raise
        except (DatabaseError, psycopg.Error):
            connection.close()
            if not was_open:  # it was refused just now
                raise
            return _insert(rows)
    except _Hanging:
        connection.close()
        _wait_no_more()
        raise
    except (DatabaseError, psycopg.Error) as error:
        is_open = connection.connection is not None
        connection.close()
        text = f"{type(error).__name__}: {error}".strip()
        if isinstance(error.__cause__, psycopg.errors.ConnectionTimeout):
            _wait_no_more()
            raise _Hanging(text) from error
        if isinstance(error, _BAD_VALUES):
            raise _Refused(text) from error
        raise (NotStored if is_open else _Unopened)(text) from error


_together: Together[Values, int] = Together(_store, MOST)


def _wait_no_more() -> None:
    """Let all deliveries be refused at once until PostgreSQL answers a thread that does nothing but ask."""
    if not _hangs.is_set():
        _hangs.set()
        threading.Thread(target=_ask_until_it_answers, daemon=True, name="store-ask").start()


def _ask_until_it_answers() -> None:
    try:
        while _is_hanging():
            pass
    finally:  # whatever happens to this thread, deliveries are taken again
        _hangs.clear()


def _is_hanging() -> bool:
    time.sleep(WATCH_SECONDS)
    try:
        connection.ensure_connection()
        with Deadline(connection.connection.pgconn):
            connection.connection.execute("SELECT 1")
    except _Hanging:
        return True
    except (DatabaseError, psycopg.Error) as error:  # one that refuses does not hang
        return isinstance(error.__cause__, psycopg.errors.ConnectionTimeout)
    finally:
        connection.close()
    return False


def _insert(rows: Sequence[Values]) -> list[int]:
    connection.ensure_connection()
    session = connection.connection
    if not session.autocommit:
        session.execute("SELECT 1")  # a caller's transaction: psycopg begins it with the first statement of its own
    count = len(rows)
    name = b"store_%d" % count
    with Deadline(session.pgconn):
        prepared = _prepared.setdefault(session, set())
        if count not in prepared:
            _check(session.pgconn.prepare(name, _insert_sql(count)))
            prepared.add(count)
        result = _check(session.pgconn.exec_prepared(name, [value for row in rows for value in row], _FORMATS * count))
    return [int(result.get_value(row, 0)) for row in range(count)]


def _insert_sql(count: int) -> bytes:
    width = len(_COLUMNS)
    rows = (", ".join(f"${row * width + column + 1}" for column in range(width)) for row in range(count))
    return (
        f"INSERT INTO webhook_deliveries ({', '.join(_COLUMNS)}) VALUES ({'), ('.join(rows)}) RETURNING id"  # noqa: S608
    ).encode()


def _check(result: Any) -> Any:
    """Return the result. Raises psycopg's exception for its SQLSTATE, with PostgreSQL's words, where it is an error."""
    if result.status not in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK):
        raise psycopg.errors.error_from_result(result)
    return result


class Deadline:
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
                Deadline._watch = threading.Thread(target=self._cut_off_forever, daemon=True, name="store-watch")
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
        connection.ensure_connection()
        with Deadline(connection.connection.pgconn), connection.cursor() as cursor:
            cursor.execute(_REFUSED, [hour, str(source), str(reason)])
    except (DatabaseError, psycopg.Error, NotStored):
        connection.close()
