"""What the ledger has just posted becomes messages to the referrers whom it concerns, in the same transaction."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from decimal import Decimal

from django.conf import settings
from django.db.models import DateTimeField, Func, Min, Q, Sum
from django.utils import timezone

from referrals.cabinet.models import CabinetMessage, LinkedChat
from referrals.models import Earning

Kind = CabinetMessage.Kind
Status = CabinetMessage.Status


class TransactionStart(Func):
    """When the current transaction began; Django's Now() is the statement's time."""

    template = "transaction_timestamp()"
    output_field = DateTimeField()


def tell_of_entries(*, lead_ids: Collection[int], decided: bool = False) -> None:
    """Write a message for each entry that this transaction posted to a referrer of these deals.

    Of old sales only that they were taken back is news (law 8), and what a person just `decided`. One message per
    entry, however often this is called.
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
    entries = list(
        Earning.objects.filter(referrer__in=linked, created_at__gte=TransactionStart())
        .select_related("conversion")
        .order_by("pk")
    )
    since = timezone.now() - settings.NOTIFY_MAX_AGE
    _tell(
        Kind.ACCRUAL,
        [
            (linked[entry.referrer_id], entry)
            for entry in entries
            if entry.amount > 0
            and linked[entry.referrer_id].accruals
            and (entry.conversion.sale_date >= since or (decided and entry.by_id is not None))
        ],
    )
    # After what was added: a message of that may already tell what was taken from it.
    taken = _untold([entry for entry in entries if entry.amount < 0])
    _tell(
        Kind.REVERSAL,
        [(linked[entry.referrer_id], entry) for entry in taken if linked[entry.referrer_id].reversals],
    )


def amount_standing(message: CabinetMessage) -> Decimal:
    """Return what a message about a commission has to tell: its entry, and what came since that no later one tells."""
    entry = message.earning
    assert entry is not None  # a constraint of the table
    same = Earning.objects.filter(conversion=entry.conversion_id, referrer=entry.referrer_id, seq__gte=entry.seq)
    later = (
        CabinetMessage.objects.filter(earning__in=same.exclude(pk=entry.pk))
        .exclude(notification_status=Status.CANCELLED)
        .aggregate(seq=Min("earning__seq"))["seq"]
    )
    if later is not None:
        same = same.filter(seq__lt=later)
    amount: Decimal = same.aggregate(sum=Sum("amount"))["sum"]
    return amount


def _tell(kind: CabinetMessage.Kind, news: Sequence[tuple[LinkedChat, Earning]]) -> None:
    CabinetMessage.objects.bulk_create(
        (
            CabinetMessage(chat_id=chat.chat_id, referrer_id=entry.referrer_id, kind=kind, earning=entry)
            for chat, entry in news
        ),
        ignore_conflicts=True,
    )


def _untold(taken: Sequence[Earning]) -> list[Earning]:
    """Return which of these entries need messages of their own: those that no message still to be sent can tell.

    One of which something stands tells that; one of which nothing stands is cancelled.
    """
    gone: set[tuple[int, int]] = set()
    untold = []
    for entry in taken:
        # Locked against the sender, which may be about to tell it.
        messages = (
            CabinetMessage.objects.filter(
                kind__in=[Kind.ACCRUAL, Kind.REVERSAL],
                earning__conversion=entry.conversion_id,
                earning__referrer=entry.referrer_id,
            )
            .exclude(notification_status=Status.CANCELLED)
            .select_related("earning")
            .select_for_update(of=("self",))
            .order_by("-earning__seq")
        )
        for message in messages:
            if message.kind != Kind.ACCRUAL or message.notification_status != Status.PENDING:
                untold.append(entry)
                break
            if amount_standing(message) > 0:
                break
            CabinetMessage.objects.filter(pk=message.pk).update(notification_status=Status.CANCELLED)
            gone.add((entry.conversion_id, entry.referrer_id))
        else:
            if (entry.conversion_id, entry.referrer_id) not in gone:
                untold.append(entry)
    return untold


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
