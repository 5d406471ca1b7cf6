"""What the ledger has just posted becomes messages to the referrers whom it concerns, in the same transaction."""

from __future__ import annotations

from collections.abc import Collection

from django.conf import settings
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from referrals.cabinet.messages import switched_on
from referrals.cabinet.models import CabinetMessage, LinkedChat
from referrals.models import Earning


def tell_of_entries(*, lead_ids: Collection[int]) -> int:
    """Write a message for each entry that this transaction posted to a referrer of these deals; return how many.

    Old sales are news to nobody (law 8); that a commission is gone always is. One message per entry, however often
    this is called.
    """
    linked = {
        chat.referrer_id: chat
        for chat in LinkedChat.objects.filter(
            Q(referrer__conversions__lead_id__in=lead_ids) | Q(referrer__earnings__conversion__lead_id__in=lead_ids)
        ).distinct()
    }
    if not linked:
        return 0
    # Now() is the moment this transaction began, and so is what it posted.
    entries = Earning.objects.filter(referrer__in=linked, created_at=Now()).select_related("conversion").order_by("pk")
    oldest = timezone.now() - settings.NOTIFY_MAX_AGE
    messages = []
    for entry in entries:
        chat = linked[entry.referrer_id]
        kind = CabinetMessage.Kind.ACCRUAL if entry.amount > 0 else CabinetMessage.Kind.REVERSAL
        old = kind == CabinetMessage.Kind.ACCRUAL and entry.conversion.sale_date < oldest
        if not old and switched_on(chat, kind):
            messages.append(
                CabinetMessage(chat_id=chat.chat_id, referrer_id=entry.referrer_id, kind=kind, earning=entry)
            )
    CabinetMessage.objects.bulk_create(messages, ignore_conflicts=True)
    return len(messages)
