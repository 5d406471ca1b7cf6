"""What the ledger has just posted becomes messages to the referrers whom it concerns, in the same transaction."""

from __future__ import annotations

from collections.abc import Collection

from django.conf import settings
from django.db.models import DateTimeField, Func, Q
from django.utils import timezone

from referrals.cabinet.models import CabinetMessage, LinkedChat
from referrals.models import Earning

Kind = CabinetMessage.Kind
Status = CabinetMessage.Status


class TransactionStart(Func):
    """When the current transaction began; Django's Now() is the statement's time."""

    template = "transaction_timestamp()"
    output_field = DateTimeField()


def tell_of_entries(*, lead_ids: Collection[int]) -> None:
    """Write a message for each entry that this transaction posted to a referrer of these deals.

    Of old sales only that they were taken back is news (law 8). One message per entry, however often this is called.
    """
    if not LinkedChat.objects.exists():
        return
    linked = {
        chat.referrer_id: chat
        for chat in LinkedChat.objects.filter(
            Q(referrer__conversions__lead_id__in=lead_ids) | Q(referrer__earnings__conversion__lead_id__in=lead_ids)
        ).distinct()
    }
    if not linked:
        return
    # What this transaction posted. Another one's entry of the same moment is told already, by that one.
    entries = (
        Earning.objects.filter(referrer__in=linked, created_at__gte=TransactionStart())
        .select_related("conversion")
        .order_by("pk")
    )
    CabinetMessage.objects.bulk_create(
        (
            CabinetMessage(chat_id=chat.chat_id, referrer_id=entry.referrer_id, kind=kind, earning=entry)
            for entry in entries
            if (kind := _news(entry, chat := linked[entry.referrer_id])) is not None
        ),
        ignore_conflicts=True,
    )


def _news(entry: Earning, chat: LinkedChat) -> CabinetMessage.Kind | None:
    """Return what kind of message an entry makes; None where nobody wants to read it."""
    if entry.amount > 0:
        young = entry.conversion.sale_date >= timezone.now() - settings.NOTIFY_MAX_AGE
        return Kind.ACCRUAL if young and chat.accruals else None
    if _never_told(entry):
        return None
    return Kind.REVERSAL if chat.reversals else None


def _never_told(entry: Earning) -> bool:
    """Cancel what was not sent yet of the commission that an entry takes back; tell whether that was all of it."""
    told = CabinetMessage.objects.filter(
        kind=Kind.ACCRUAL, earning__conversion=entry.conversion_id, earning__referrer=entry.referrer_id
    )
    cancelled = told.filter(notification_status=Status.PENDING).update(notification_status=Status.CANCELLED)
    return bool(cancelled) and not told.exclude(notification_status=Status.CANCELLED).exists()


def tell_of_payouts(*, payout_ids: Collection[int]) -> None:
    """Write a message for each of these payouts whose referrer has a chat and wants to hear of payouts; once."""
    linked = LinkedChat.objects.filter(referrer__payouts__in=payout_ids, payouts=True).values_list(
        "chat_id", "referrer_id", "referrer__payouts"
    )
    CabinetMessage.objects.bulk_create(
        (
            CabinetMessage(chat_id=chat, referrer_id=referrer, kind=Kind.PAYOUT, payout_id=payout)
            for chat, referrer, payout in linked
            if payout in payout_ids
        ),
        ignore_conflicts=True,
    )
