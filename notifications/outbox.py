"""The rows of every app's outbox: how their status moves, what Telegram's answer does to them, sending them again."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta
from itertools import groupby
from typing import Any

from django.apps import apps
from django.db import connection, transaction
from django.db.models import Value
from django.db.models.functions import Now

from notifications import telegram
from notifications.models import OutboxMessage

Status = OutboxMessage.Status

# Between attempts whose message certainly did not arrive; after the last one the row is `failed`. Five hours together.
RETRY_DELAYS = [timedelta(seconds=s) for s in (5, 30, 120, 600, 1800, 3600, 3 * 3600)]
# What a person may have sent again. `uncertain` may stand in the chat already: only after somebody looked there.
ENDED = (Status.FAILED, Status.UNCERTAIN, Status.CONSOLE)
_OLDEST_DUE = """
WITH RECURSIVE waiting AS (
    (SELECT chat_id FROM {table} WHERE notification_status = 'pending' AND chat_id IS NOT NULL
     ORDER BY chat_id LIMIT 1)
    UNION ALL
    SELECT (SELECT row.chat_id FROM {table} AS row
            WHERE row.notification_status = 'pending' AND row.chat_id > waiting.chat_id
            ORDER BY row.chat_id LIMIT 1)
    FROM waiting WHERE waiting.chat_id IS NOT NULL
)
SELECT oldest.id, oldest.next_attempt_at FROM waiting CROSS JOIN LATERAL (
    SELECT id, next_attempt_at FROM {table}
    WHERE notification_status = 'pending' AND next_attempt_at <= statement_timestamp() AND chat_id = waiting.chat_id
    ORDER BY next_attempt_at, id LIMIT 1
) AS oldest
WHERE waiting.chat_id <> ALL(%(resting)s::bigint[])
UNION ALL
(SELECT id, next_attempt_at FROM {table}
 WHERE notification_status = 'pending' AND next_attempt_at <= statement_timestamp() AND chat_id IS NULL
   AND NOT %(is_common_resting)s
 ORDER BY chat_id, next_attempt_at, id LIMIT 1)
ORDER BY next_attempt_at, id LIMIT 1
"""


def outbox_models() -> list[type[OutboxMessage]]:
    """Return every app's outbox, always in the same order."""
    found = [m for m in apps.get_models() if issubclass(m, OutboxMessage)]
    return sorted(found, key=lambda model: model._meta.label)


def oldest_due(
    model: type[OutboxMessage], *, resting: Collection[int], is_common_resting: bool
) -> OutboxMessage | None:
    """Return the oldest due row of an outbox whose chat does not rest; rows without a chat are the common chat's.

    It goes from chat to chat along the index, so a long queue of a chat that rests costs nothing.
    """
    query = _OLDEST_DUE.format(table=model._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(query, {"resting": list(resting), "is_common_resting": is_common_resting})
        found = cursor.fetchone()
    return model._default_manager.select_related("chat").get(pk=found[0]) if found else None


def due_of_chat(model: type[OutboxMessage], chat: int | None, most: int) -> list[OutboxMessage]:
    """Return the oldest due rows of a chat, or those without one.

    Ordered by the chat, too, as the index is: PostgreSQL does not see that `IS NULL` leaves one value, and would sort
    all that wait.
    """
    rows = model._default_manager.filter(notification_status=Status.PENDING, next_attempt_at__lte=Now(), chat=chat)
    return list(rows.select_related("chat").order_by("chat_id", "next_attempt_at", "id")[:most])


def move(row: OutboxMessage, before: Collection[str], to: str, **fields: Any) -> bool:
    """Change a row's status and tell whether it was changed: not if somebody else did first, cancelled it for one."""
    rows = type(row)._default_manager.filter(pk=row.pk, notification_status__in=before)
    return bool(rows.update(notification_status=to, **fields))


def move_all(rows: Sequence[OutboxMessage], before: Collection[str], to: str, **fields: Any) -> list[OutboxMessage]:
    """Do as `move` with rows of one outbox, in two statements; return those that were changed."""
    with transaction.atomic():
        of = type(rows[0])._default_manager.filter(pk__in=[row.pk for row in rows], notification_status__in=before)
        moved = set(of.select_for_update().order_by("pk").values_list("pk", flat=True))
        of.filter(pk__in=moved).update(notification_status=to, **fields)
    return [row for row in rows if row.pk in moved]


def save_outcome(rows: Sequence[OutboxMessage], chat_id: int, outcome: telegram.Outcome) -> None:
    """Write down what Telegram answered to the one message that told these rows, sent to this chat.

    A row that another sender took for a dead one's is `uncertain` by now: what Telegram said is better known here.
    """
    by_attempts = sorted(rows, key=lambda row: row.attempts)
    for _, alike in groupby(by_attempts, key=lambda row: row.attempts):
        group = list(alike)
        fields = _fields(group[0], outcome)
        if fields["to"] == Status.SENT:
            fields["telegram_chat_id"] = chat_id
        move_all(group, (Status.SENDING, Status.UNCERTAIN), **fields)


def resend_messages(*, model: type[OutboxMessage], ids: Collection[int], of: Collection[str] = ENDED) -> int:
    """Put messages that ended without being sent back into the queue, due now; return how many there were."""
    rows = model._default_manager.filter(pk__in=ids, notification_status__in=set(of) & set(ENDED))
    return rows.update(notification_status=Status.PENDING, attempts=0, next_attempt_at=Now(), error="")


def in_(delay: timedelta) -> Any:
    """Return the database's clock plus a delay: workers' clocks differ."""
    return Now() + Value(delay)


def _fields(row: OutboxMessage, outcome: telegram.Outcome) -> dict[str, Any]:
    """Return the columns that an outcome sets. A pause of the chat or the bot is no attempt of the message."""
    fields: dict[str, Any] = {"attempts": row.attempts + 1, "error": outcome.reason}
    match outcome.status:
        case telegram.Status.SENT:
            fields |= {"to": Status.SENT, "notified_at": Now(), "telegram_message_id": outcome.message_id}
        case telegram.Status.UNCERTAIN:
            fields |= {"to": Status.UNCERTAIN}
        case telegram.Status.RETRY if outcome.after is not None:
            wait = timedelta(seconds=outcome.after)
            fields |= {"to": Status.PENDING, "attempts": row.attempts, "next_attempt_at": in_(wait)}
        case telegram.Status.RETRY if row.attempts < len(RETRY_DELAYS):
            fields |= {"to": Status.PENDING, "next_attempt_at": in_(RETRY_DELAYS[row.attempts])}
        case _:
            fields |= {"to": Status.FAILED}
    return fields
