from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from onai_project import roles
from referrals.models import Conversion, Earning, Referrer
from referrals.payouts import batches
from referrals.payouts.models import BankDetails, Payout, PayoutBatch
from referrals.payouts.preview import select_preview
from tests.onai_project.rows import make_conversion, make_user

IBAN = "KZ86125KZT5004100100"


def today() -> date:
    return timezone.localdate()


def days_ago(days: int) -> datetime:
    return timezone.now() - timedelta(days=days)


def due_conversion(lead_id: int, referrer: Referrer, amount: int = 100_000, **fields: Any) -> Conversion:
    """A sale of a month ago: its commission of 10 % is available."""
    return make_conversion(lead_id, referrer, **{"when": days_ago(30), "sale_amount": Decimal(amount), **fields})


def take_back(conversion: Conversion, amount: int | None = None) -> Earning:
    """Post what the ledger posts when a deal is lost, or for a part of it."""
    entries = list(conversion.earnings.order_by("seq"))
    taken = sum(entry.amount for entry in entries) if amount is None else Decimal(amount)
    if amount is None:
        Conversion.objects.filter(pk=conversion.pk).update(state="reversed")
    return Earning.objects.create(
        conversion=conversion,
        referrer=conversion.referrer,
        seq=entries[-1].seq + 1,
        kind="reversal",
        amount=-taken,
        reason="the sale was taken back",
        available_at=entries[-1].available_at,
    )


def pay(manager: User, minimum: int = 5000) -> list[Payout]:
    """Make a batch of today, confirm what it previews, and transfer it."""
    batch = batches.batch_create(cutoff=today(), minimum=Decimal(minimum), by=manager)
    payouts = confirm(batch, manager)
    batches.payouts_mark_paid(payouts=[payout.pk for payout in payouts], paid_on=today(), by=manager)
    return list(Payout.objects.filter(batch=batch))


def confirm(batch: PayoutBatch, manager: User) -> list[Payout]:
    preview = select_preview(cutoff=batch.cutoff, minimum=batch.minimum)
    return batches.batch_confirm(batch=batch, fingerprint=preview.fingerprint, by=manager)


@pytest.fixture
def manager(db: None) -> User:
    roles.create_roles()
    return make_user("refs", role=roles.REFERRAL_MANAGER)


MakeReferrer = Callable[..., Referrer]


@pytest.fixture
def make_referrer(db: None) -> MakeReferrer:
    """Return a maker of claimed referrers whose bank details are known."""

    def make(code: str, *, details: bool = True, **fields: Any) -> Referrer:
        referrer = Referrer.objects.create(code=code, **{"claimed": True, "name": code[4:].title(), **fields})
        if details:
            BankDetails.objects.create(referrer=referrer, recipient=f"{referrer.name} Тестова", account=IBAN)
        return referrer

    return make


@pytest.fixture
def dana(make_referrer: MakeReferrer) -> Referrer:
    return make_referrer("ref_dana", name="Дана")


@pytest.fixture
def batch(manager: User) -> PayoutBatch:
    return batches.batch_create(cutoff=today(), minimum=Decimal(5000), by=manager)
