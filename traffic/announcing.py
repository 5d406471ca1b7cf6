"""Which chats hear of a sale, written into the outbox in the transaction of the fact (law 8)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import connection
from django.db.models import Q, QuerySet

from notifications.models import TelegramChat
from traffic.models import Sale, SalesNotification, Targetologist
from traffic.told import Plan, Told, moved, restored, taken_back, won_anew
from webhooks import bulk
from webhooks.amocrm import api
from webhooks.amocrm.events import UTM_NAMES

if TYPE_CHECKING:
    from traffic.sales import StoredSale

Status = SalesNotification.Status

# How long a sale that lacks its price or its UTM waits for AmoCRM's API, where that is asked.
PATIENCE = timedelta(seconds=60)

_UTM = UTM_NAMES[:5]
_FIELDS = (
    "lead_id", "lead_name", "sale_amount", *_UTM, "targetologist", "sale_date", "kind", "win_number",
    "chat", "notification_status", "attempts", "error",
)  # fmt: skip
_TOLD = """
SELECT lead_id, id, chat_id, kind, win_number, notification_status FROM sales_notifications
WHERE lead_id = ANY(%s::bigint[]) ORDER BY id FOR UPDATE
"""
_CANCEL = "UPDATE sales_notifications SET notification_status = 'cancelled' WHERE id = ANY(%s::bigint[])"
_QUEUE = """
UPDATE sales_notifications SET notification_status = 'pending', next_attempt_at = statement_timestamp()
WHERE id = ANY(%s::bigint[])
"""
_TAKE_BACK = """
INSERT INTO sales_notifications (
    lead_id, lead_name, sale_amount, utm_source, utm_medium, utm_campaign, utm_content, utm_term, targetologist,
    sale_date, kind, win_number, chat_id, notification_status, attempts, error
)
SELECT lead_id, lead_name, sale_amount, utm_source, utm_medium, utm_campaign, utm_content, utm_term, targetologist,
    sale_date, 'taken_back', win_number, chat_id, 'pending', 0, ''
FROM sales_notifications WHERE id = ANY(%s::bigint[]) ORDER BY id
ON CONFLICT DO NOTHING
"""
_WAIT = """
UPDATE sales_notifications SET next_attempt_at = statement_timestamp() + make_interval(secs => %s)
WHERE lead_id = ANY(%s::bigint[]) AND kind = 'sale' AND notification_status = 'pending' AND attempts = 0
"""


def announce_sales(*, changes: Sequence[tuple[StoredSale | None, StoredSale]], live: bool) -> None:
    """Tell of these won sales, each with the row that stood before (None: none did).

    A new win is told, and one that a change of its UTM made another's: to the chats that have not heard of it; and one
    restored, where it was told that it had been taken back. Nothing is told of referrals' sales (their app does), of
    wins older than NOTIFY_MAX_AGE, or where nothing is `live`.
    """
    now = datetime.now(UTC)
    chats = _Chats()
    told = _told([sale.lead_id for old, sale in changes if old and (_is_new(old, sale) or _whose(old) != _whose(sale))])
    plans: list[tuple[StoredSale, Plan]] = []
    for old, sale in changes:
        messages = told.get(sale.lead_id, [])
        is_young = live and now - sale.sale_date <= settings.NOTIFY_MAX_AGE
        if old is None or not _is_same_win(old, sale):
            if is_young:
                plans.append((sale, won_anew(messages, chats.of(sale), at_least=sale.win_number)))
        elif old.state == Sale.State.REVERSED:
            where = chats.of(sale) if live else []
            plans.append((sale, restored(messages, where, is_young=is_young, at_least=sale.win_number)))
        elif is_young and _whose(old) != _whose(sale):
            plans.append((sale, moved(messages, chats.of(sale), at_least=sale.win_number)))
    _write(plans)
    if api.configured():
        _wait([sale for sale, plan in plans if plan.tell or plan.queue if not _complete(sale)], PATIENCE)
        _wait([sale for old, sale in changes if old and not _complete(old) and _complete(sale)], timedelta())


def take_back_sales(*, sales: Sequence[StoredSale], live: bool) -> None:
    """Tell no more of these sales, won until now; where they were told of, tell that they were taken back."""
    told = _told([sale.lead_id for sale in sales])
    _write([(sale, taken_back(told.get(sale.lead_id, []), live=live)) for sale in sales])


class _Chats:
    """Where sales go, asked once a batch. None stands for the common chat of the moment of sending."""

    @cached_property
    def _usable(self) -> QuerySet[TelegramChat]:
        # One that somebody switched off stays silent; one that Telegram refuses keeps what failed, for later.
        return TelegramChat.objects.filter(Q(active=True) | ~Q(disabled_reason=""))

    @cached_property
    def _unattributed(self) -> list[int | None]:
        admins = self._usable.filter(kind=TelegramChat.Kind.ADMIN, active=True).order_by("pk")
        return list(admins.values_list("pk", flat=True)) or [None]

    @cached_property
    def _own(self) -> dict[str, int | None]:
        own = Targetologist.objects.filter(chat__in=self._usable).exclude(chat__kind=TelegramChat.Kind.COMMON)
        return dict(own.values_list("slug", "chat"))

    def of(self, sale: StoredSale) -> list[int | None]:
        """Return the chats of a sale: administrators' for one that nobody has, else the common and its owner's."""
        if sale.channel == Sale.Channel.REFERRAL:
            return []
        if sale.targetologist is None:
            return self._unattributed
        return [None, *([self._own[sale.targetologist]] if sale.targetologist in self._own else [])]


def _is_new(old: StoredSale, sale: StoredSale) -> bool:
    return old.state == Sale.State.REVERSED or not _is_same_win(old, sale)


def _is_same_win(old: StoredSale, sale: StoredSale) -> bool:
    """Return whether both rows are of one win: older hooks that come late number it anew, answers date it anew."""
    numbered_alike = (old.pipeline_id, old.win_number) == (sale.pipeline_id, sale.win_number)
    return numbered_alike or sale.sale_date <= old.sale_date


def _whose(sale: StoredSale | None) -> tuple[str, str | None] | None:
    return sale and (sale.channel, sale.targetologist)


def _complete(sale: StoredSale) -> bool:
    return sale.sale_amount is not None and any(getattr(sale, name) for name in _UTM)


def _row(sale: StoredSale, chat: int | None, kind: str, number: int) -> tuple[object, ...]:
    return (
        *(sale.lead_id, sale.lead_name, sale.sale_amount, *(getattr(sale, name) for name in _UTM)),
        *(sale.targetologist, sale.sale_date, kind, number),
        *(chat, Status.PENDING, 0, ""),
    )


def _told(lead_ids: Sequence[int]) -> dict[int, list[Told]]:
    """Return the messages about these deals, held: what the sender takes now it has taken before, or finds changed."""
    told: defaultdict[int, list[Told]] = defaultdict(list)
    if lead_ids:
        with connection.cursor() as cursor:
            cursor.execute(_TOLD, [bulk.ids(lead_ids)])
            for lead_id, *message in cursor.fetchall():
                told[lead_id].append(Told(*message))
    return told


def _write(plans: Sequence[tuple[StoredSale, Plan]]) -> None:
    """Do what the plans say; what takes back comes before what is told anew."""
    _execute(_CANCEL, [one for _, plan in plans for one in plan.cancel])
    _execute(_TAKE_BACK, [one for _, plan in plans for one in plan.take_back])
    _execute(_QUEUE, [one for _, plan in plans for one in plan.queue])
    rows = [_row(sale, *telling) for sale, plan in plans for telling in plan.tell]
    bulk.insert(SalesNotification, _FIELDS, rows, ignore_conflicts=True)


def _wait(sales: Sequence[StoredSale], delay: timedelta) -> None:
    """Let what was never tried of these sales wait so long from now."""
    _execute(_WAIT, [sale.lead_id for sale in sales], delay.total_seconds())


def _execute(sql: str, ids: Sequence[int], *before: Any) -> None:
    if ids:
        with connection.cursor() as cursor:
            cursor.execute(sql, [*before, bulk.ids(ids)])
