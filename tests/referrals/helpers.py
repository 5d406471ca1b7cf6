"""Deals, plans and the ledger, for the tests of the ledger."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from referrals.models import CommissionPlan, Earning
from tests import bodies
from webhooks import inbox
from webhooks.models import WebhookDelivery

NOW = int(time.time())
DAY = 86_400
BEGINNING = date(2020, 1, 1)
# The middle of a month long past: days before and after it are in the same one.
MIDDLE = int(datetime(2025, 6, 15, 7, tzinfo=UTC).timestamp())


def store(*stored: bytes) -> None:
    """Store bodies, hooks or answers of the API, for the inbox."""
    for body in stored:
        is_answer = body.startswith(b"{")
        WebhookDelivery.objects.create(
            source="amocrm_api" if is_answer else "amocrm_referral",
            body=body,
            content_type="application/json" if is_answer else bodies.FORM,
        )


def tell(*told: bytes) -> None:
    """Store bodies and process them."""
    store(*told)
    while inbox.process_due():
        pass


def won(lead_id: int = 1, at: int = NOW, **fields: Any) -> bytes:
    return bodies.hook(lead_id, at=at, **{"price": 50_000, "utm_source": "ref_a", "pipeline": 7, **fields})


def answer(lead_id: int, at: int = MIDDLE, contact: int | None = None, **fields: Any) -> bytes:
    """Return an answer of the API about a deal won by ref_a at that moment, with its customer."""
    lead = bodies.api_lead(
        lead_id, at=at, **{"price": 50_000, "utm_source": "ref_a", "pipeline": 7, "closed_at": at, **fields}
    )
    lead["_embedded"] = {"contacts": [{"id": contact, "is_main": True}] if contact else []}
    return bodies.answer(lead)


def make_plan(kind: str = "percent", value: Any = None, rates: tuple[int, ...] = (), **fields: Any) -> CommissionPlan:
    """Create a plan from the beginning on; everyone's takes the place of the seeded one."""
    if not fields.get("group") and not fields.get("referrer") and "valid_from" not in fields:
        CommissionPlan.objects.filter(group=None, referrer=None).update(valid_to=BEGINNING)
    named = dict(zip(CommissionPlan.RATES, rates, strict=False))
    defaults = {"name": "plan", "valid_from": BEGINNING}
    return CommissionPlan.objects.create(kind=kind, value=value, **{**defaults, **named, **fields})


def balances() -> dict[int, int]:
    """Return what the ledger has, by deal; deals of nothing are left out."""
    sums: dict[int, int] = {}
    for lead_id, amount in Earning.objects.values_list("conversion__lead_id", "amount"):
        sums[lead_id] = sums.get(lead_id, 0) + int(amount)
    return {lead_id: amount for lead_id, amount in sorted(sums.items()) if amount}


def next_month(moment: int) -> int:
    return int((datetime.fromtimestamp(moment, UTC) + timedelta(days=31)).timestamp())


def tenge(amount: int) -> Decimal:
    return Decimal(amount)
