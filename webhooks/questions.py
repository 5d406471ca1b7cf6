"""The queue of what AmoCRM is to be asked: rows of `amocrm_questions`, never a list in somebody's memory."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from django.db import connection

from webhooks.merge import DealState
from webhooks.models import ApiQuestion
from webhooks.reasons import because

Kind = ApiQuestion.Kind

# Seconds until something is asked again whose answer did not come or was older than what we know.
RETRY_SECONDS = [5, 15, 60, 300, 1800, 3 * 3600, 12 * 3600]
MAX_ATTEMPTS = len(RETRY_SECONDS) + 1

_ASK = """
INSERT INTO amocrm_questions AS question (kind, object_id, due_at, attempts, error)
SELECT %(kind)s, id, statement_timestamp(), 0, '' FROM unnest(%(ids)s::bigint[]) AS id ORDER BY id
ON CONFLICT (kind, object_id) DO UPDATE SET due_at = excluded.due_at, attempts = 0, error = ''
"""
_ASK_FOR_CONTACTS = """
INSERT INTO amocrm_questions (kind, object_id, due_at, attempts, error)
SELECT 'contact', id, statement_timestamp(), 0, '' FROM unnest(%(ids)s::bigint[]) AS id
WHERE NOT EXISTS (SELECT FROM contacts WHERE contact_id = id) ORDER BY id
ON CONFLICT DO NOTHING
"""
# Wins and doubts from before the token was set, or that were never followed. Each is asked about once.
_CATCH_UP = """
INSERT INTO amocrm_questions (kind, object_id, due_at, attempts, error)
SELECT 'deal', lead_id, statement_timestamp(), 0, '' FROM (
    SELECT lead_id FROM deals WHERE needs_check
    UNION SELECT lead_id FROM deals WHERE won_at IS NOT NULL AND closed_at IS NULL AND NOT is_deleted
) AS lacking
WHERE NOT EXISTS (SELECT FROM amocrm_questions WHERE kind = 'deal' AND object_id = lead_id) ORDER BY lead_id
ON CONFLICT DO NOTHING
"""
_SETTLE = """
UPDATE amocrm_questions SET due_at = NULL, error = %(error)s
WHERE kind = %(kind)s AND object_id = ANY(%(ids)s::bigint[]) AND due_at IS NOT NULL
"""
# Those asked equally often go together; the oftener, the fewer, so that the one that spoils an answer ends up alone.
_NEXT = """
SELECT attempts FROM amocrm_questions
WHERE kind = %(kind)s AND due_at <= statement_timestamp() ORDER BY attempts, due_at LIMIT 1
"""
# Materialized, or the planner may run the inner query, and its LIMIT, once for each row of the outer one.
_CLAIM = """
WITH due AS MATERIALIZED (
    SELECT id FROM amocrm_questions
    WHERE kind = %(kind)s AND attempts = %(attempts)s AND due_at <= statement_timestamp()
    ORDER BY due_at, object_id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE amocrm_questions AS question
SET attempts = question.attempts + 1,
    due_at = statement_timestamp() + make_interval(secs => (%(delays)s::int[])[question.attempts + 1])
FROM due WHERE question.id = due.id
RETURNING question.object_id
"""
_GIVE_BACK = """
UPDATE amocrm_questions SET attempts = attempts - 1, due_at = statement_timestamp(), error = %(error)s
WHERE kind = %(kind)s AND object_id = ANY(%(ids)s::bigint[]) AND attempts > 0
"""
_NOTE = "UPDATE amocrm_questions SET error = %(error)s WHERE kind = %(kind)s AND object_id = ANY(%(ids)s::bigint[])"


class Claim(NamedTuple):
    """What is to be asked now, in one request, and for which time."""

    ids: list[int]
    attempt: int

    @property
    def is_last(self) -> bool:
        """Return whether nobody asks again."""
        return self.attempt >= MAX_ATTEMPTS


def follow(deals: Sequence[DealState], wanting: Collection[int], *, answered: set[int], hooked: set[int]) -> None:
    """Write down what to ask after a batch: within its transaction, so that a deal and its question come together.

    `deals` are those touched, `answered` by an answer of the API, `hooked` by what AmoCRM sent; `wanting` those of
    which something is missing. An answer asks nothing again by itself: what it did not settle is due as it was.
    """
    if ask := sorted(lead_id for lead_id in hooked if lead_id in wanting):
        _execute(_ASK, Kind.DEAL, ask)
    deleted = {deal.lead_id for deal in deals if deal.is_deleted}
    settle(Kind.DEAL, sorted(lead_id for lead_id in answered if lead_id in deleted or lead_id not in wanting))
    contacts = {deal.contact_id for deal in deals if deal.contact_id and deal.win() is not None}
    if contacts:
        _execute(_ASK_FOR_CONTACTS, Kind.CONTACT, sorted(contacts))


def ask(kind: str, ids: Sequence[int]) -> None:
    """Have these asked about now."""
    _execute(_ASK, kind, sorted(ids))


def catch_up() -> int:
    """Have what lacks something asked about that never was; return how many."""
    with connection.cursor() as cursor:
        cursor.execute(_CATCH_UP)
        return int(cursor.rowcount)


def claim(kind: str, most: int) -> Claim:
    """Take what is due, `most` at most, and set when it is due again should no answer come."""
    with connection.cursor() as cursor:
        cursor.execute(_NEXT, {"kind": kind})
        row = cursor.fetchone()
        if row is None:
            return Claim([], 0)
        limit = max(1, most >> min(row[0], 7))
        # Beyond its end the array has NULL: the last attempt is followed by none.
        cursor.execute(_CLAIM, {"kind": kind, "attempts": row[0], "limit": limit, "delays": RETRY_SECONDS})
        return Claim(sorted(number for (number,) in cursor.fetchall()), row[0] + 1)


def settle(kind: str, ids: Sequence[int], reason: str = "") -> None:
    """Ask no more about these: they are answered, or there is a reason."""
    if ids:
        _execute(_SETTLE, kind, ids, because(reason) if reason else "")


def give_back(kind: str, ids: Sequence[int], error: str) -> None:
    """Undo a claim: nobody could ask, which is no attempt."""
    _execute(_GIVE_BACK, kind, ids, because(error))


def note(kind: str, ids: Sequence[int], error: str) -> None:
    """Write down why an attempt failed."""
    _execute(_NOTE, kind, ids, because(error))


def _execute(sql: str, kind: str, ids: Sequence[int], error: str = "") -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, {"kind": kind, "ids": list(ids), "error": error})
