"""Which chats hear of a sale, written into the outbox in the transaction of the fact (law 8)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import connection
from django.db.models import Q

from notifications.models import TelegramChat
from traffic.models import Sale, SalesNotification, Targetologist
from webhooks import bulk
from webhooks.amocrm import api
from webhooks.amocrm.events import UTM_NAMES

if TYPE_CHECKING:
    from traffic.sales import StoredSale

Kind = SalesNotification.Kind
Status = SalesNotification.Status

# How long a sale that lacks its price or its UTM waits for AmoCRM's API, where that is asked.
PATIENCE = timedelta(seconds=60)

_UTM = UTM_NAMES[:5]
_FIELDS = (
    "lead_id", "lead_name", "sale_amount", *_UTM, "targetologist", "sale_date", "kind", "win_number",
    "chat", "notification_status", "attempts", "error",
)  # fmt: skip
_MOVE = """
UPDATE sales_notifications AS message SET notification_status = %(after)s, next_attempt_at = statement_timestamp()
FROM unnest(%(leads)s::bigint[], %(wins)s::int[]) AS sale(lead_id, win_number)
WHERE message.lead_id = sale.lead_id AND message.win_number = sale.win_number
  AND kind = %(kind)s AND notification_status = %(before)s
"""
# To a chat that the sale does not go to any more: it was another's when the message was written.
_REROUTE = """
UPDATE sales_notifications AS message SET notification_status = 'cancelled'
FROM unnest(%(leads)s::bigint[], %(wins)s::int[]) AS sale(lead_id, win_number)
WHERE message.lead_id = sale.lead_id AND message.win_number = sale.win_number AND kind = 'sale'
  AND notification_status = 'pending' AND NOT coalesce(chat_id, 0) = ANY(%(chats)s::bigint[])
"""
_WAIT = """
UPDATE sales_notifications AS message SET next_attempt_at = statement_timestamp() + make_interval(secs => %(seconds)s)
FROM unnest(%(leads)s::bigint[], %(wins)s::int[]) AS sale(lead_id, win_number)
WHERE message.lead_id = sale.lead_id AND message.win_number = sale.win_number AND kind = 'sale'
  AND notification_status = 'pending' AND attempts = 0
"""
# To every chat that heard of the sale, or may have.
_TAKE_BACK = """
INSERT INTO sales_notifications (
    lead_id, lead_name, sale_amount, utm_source, utm_medium, utm_campaign, utm_content, utm_term, targetologist,
    sale_date, kind, win_number, chat_id, notification_status, attempts, error
)
SELECT lead_id, lead_name, sale_amount, utm_source, utm_medium, utm_campaign, utm_content, utm_term, targetologist,
    sale_date, 'taken_back', win_number, chat_id, 'pending', 0, ''
FROM sales_notifications
WHERE (lead_id, win_number) IN (SELECT * FROM unnest(%(leads)s::bigint[], %(wins)s::int[]))
  AND kind = 'sale' AND notification_status IN ('sending', 'sent', 'uncertain', 'console')
ORDER BY id
ON CONFLICT DO NOTHING
"""


def announce_sales(*, changes: Sequence[tuple[StoredSale | None, StoredSale]], live: bool) -> None:
    """Tell of these won sales, each with the row that stood before (None: none did).

    A new win is told, and one that a change of its UTM made another's: to the chats that have not heard of it. Nothing
    is told of referrals' sales (their app does), of those older than NOTIFY_MAX_AGE, or where nothing is `live`.
    A win taken back before that was told, and restored, is told after all, or told no more that it was taken back.
    """
    now = datetime.now(UTC)
    told = [
        (old, sale)
        for old, sale in changes
        if live and now - sale.sale_date <= settings.NOTIFY_MAX_AGE and (_is_new(old) or _whose(old) != _whose(sale))
    ]
    if told:
        chats = _Chats()
        rows = [_row(sale, chat) for _, sale in told for chat in chats.of(sale)]
        bulk.insert(SalesNotification, _FIELDS, rows, ignore_conflicts=True)
        _move([sale for old, sale in told if _is_new(old)], Kind.SALE, Status.CANCELLED, Status.PENDING)
        for old, sale in told:
            if old is not None:
                _execute(_REROUTE, [sale], chats=[chat or 0 for chat in chats.of(sale)])
    restored = [sale for old, sale in changes if old is not None and _is_new(old)]
    _move(restored, Kind.TAKEN_BACK, Status.PENDING, Status.CANCELLED)
    if api.configured():
        _execute(_WAIT, [sale for _, sale in told if not _complete(sale)], seconds=PATIENCE.total_seconds())
        _execute(_WAIT, [sale for old, sale in changes if old and not _complete(old) and _complete(sale)], seconds=0)


def take_back_sales(*, sales: Sequence[StoredSale], live: bool) -> None:
    """Tell no more of these sales, won until now; where they were told of, tell that they were taken back."""
    _move(sales, Kind.SALE, Status.PENDING, Status.CANCELLED)
    if live:
        _move(sales, Kind.TAKEN_BACK, Status.CANCELLED, Status.PENDING)
        _execute(_TAKE_BACK, sales)


class _Chats:
    """Where sales go, asked once a batch. None stands for the common chat of the moment of sending."""

    def __init__(self) -> None:
        # One that somebody switched off stays silent; one that Telegram refuses keeps what failed, for later.
        usable = TelegramChat.objects.filter(Q(active=True) | ~Q(disabled_reason=""))
        admins = usable.filter(kind=TelegramChat.Kind.ADMIN, active=True).order_by("pk")
        self._unattributed: list[int | None] = list(admins.values_list("pk", flat=True)) or [None]
        own = Targetologist.objects.filter(chat__in=usable).exclude(chat__kind=TelegramChat.Kind.COMMON)
        self._own = dict(own.values_list("slug", "chat"))

    def of(self, sale: StoredSale) -> list[int | None]:
        """Return the chats of a sale: administrators' for one that nobody has, else the common and its owner's."""
        if sale.channel == Sale.Channel.REFERRAL:
            return []
        if sale.targetologist is None:
            return self._unattributed
        return [None, *([self._own[sale.targetologist]] if sale.targetologist in self._own else [])]


def _is_new(old: StoredSale | None) -> bool:
    return old is None or old.state == Sale.State.REVERSED


def _whose(sale: StoredSale | None) -> tuple[str, str | None] | None:
    return sale and (sale.channel, sale.targetologist)


def _complete(sale: StoredSale) -> bool:
    return sale.sale_amount is not None and any(getattr(sale, name) for name in _UTM)


def _row(sale: StoredSale, chat: int | None) -> tuple[object, ...]:
    return (
        *(sale.lead_id, sale.lead_name, sale.sale_amount, *(getattr(sale, name) for name in _UTM)),
        *(sale.targetologist, sale.sale_date, Kind.SALE, sale.win_number),
        *(chat, Status.PENDING, 0, ""),
    )


def _move(sales: Iterable[StoredSale], kind: str, before: str, after: str) -> None:
    """Change the status of the messages of this kind about these wins, where it is `before`."""
    _execute(_MOVE, list(sales), kind=kind, before=before, after=after)


def _execute(sql: str, sales: Sequence[StoredSale], **parameters: Any) -> None:
    if sales:
        wins = {"leads": [sale.lead_id for sale in sales], "wins": [sale.win_number for sale in sales]}
        with connection.cursor() as cursor:
            cursor.execute(sql, {**wins, **parameters})
