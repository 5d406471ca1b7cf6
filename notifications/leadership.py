"""Which process runs a loop that only one in the system may run: the one whose connection holds the loop's lock."""

from __future__ import annotations

from django.db import connection

# A machine that vanished says no goodbye: PostgreSQL asks after it, and frees its lock after 3 s without an answer.
_KEEPALIVE = "SET tcp_keepalives_idle = 1; SET tcp_keepalives_interval = 1; SET tcp_keepalives_count = 2"


def try_lead(lock: int) -> bool:
    """Take an advisory lock for as long as this connection lives; False: another one holds it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [lock])
        held = bool(cursor.fetchone()[0])
        if held:
            cursor.execute(_KEEPALIVE)
        return held
