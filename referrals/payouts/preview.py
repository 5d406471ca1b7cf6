"""Who would be paid on a cut-off day, how much and by which entries; and who would not, and why. Reads only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum

from django.db import connection

from onai_project.periods import day_start
from referrals.commissions import NOTHING
from referrals.models import Conversion, Referrer
from referrals.payouts.models import BankDetails

# Of the entries in no live payout: what is due by the cut-off, what is held and what comes later, by referrer. All of a
# sale is due on its conversion's day: entries keep the day that they were posted with, and how many of them a moved
# day makes depends on what was processed together. A hold or a day to come holds back what is owed to a referrer,
# never what they owe: a paid commission that was taken back counts all the same.
_OPEN = """
WITH open AS (
    SELECT earning.id, earning.referrer_id, earning.amount, conversion.available_at < %(until)s AS due,
           conversion.hold_reason <> ALL(%(no_hold)s) AS held,
           sum(earning.amount) OVER (PARTITION BY earning.referrer_id, earning.conversion_id) AS net
    FROM referral_earnings AS earning JOIN referral_conversions AS conversion ON conversion.id = earning.conversion_id
    WHERE NOT EXISTS (SELECT FROM referral_payout_items AS item WHERE item.earning_id = earning.id AND item.live)
      AND (%(referrers)s::bigint[] IS NULL OR earning.referrer_id = ANY(%(referrers)s))
)
SELECT referrer_id,
       coalesce(sum(amount) FILTER (WHERE due AND NOT held OR net < 0), 0),
       coalesce(array_agg(id ORDER BY id) FILTER (WHERE due AND NOT held OR net < 0), '{}'),
       coalesce(sum(amount) FILTER (WHERE due AND held AND net >= 0), 0),
       coalesce(sum(amount) FILTER (WHERE NOT due AND net >= 0), 0)
FROM open GROUP BY referrer_id
"""
# These two are the referrer's, not the conversion's: asked of the entry's own referrer.
_NO_HOLD = [Conversion.Hold.NONE, Conversion.Hold.UNCLAIMED, Conversion.Hold.INACTIVE]


class Why(StrEnum):
    """Why a referrer is not paid in a batch; the first that applies."""

    PAID = ""
    UNCLAIMED = "unclaimed"
    INACTIVE = "inactive"
    OWES = "owes"
    HELD = "held"
    WAITING = "waiting"
    MINIMUM = "minimum"
    NO_DETAILS = "no_details"


@dataclass(frozen=True, slots=True)
class Line:
    """One referrer in a preview, whole tenge. `entries` are the ids that `payable` is the sum of."""

    referrer: Referrer
    payable: Decimal
    entries: list[int]
    held: Decimal
    waiting: Decimal
    details: BankDetails | None
    why: Why


@dataclass(frozen=True, slots=True)
class Preview:
    """What a batch would pay if it were confirmed now."""

    paid: list[Line]
    unpaid: list[Line]

    @property
    def total(self) -> Decimal:
        """The sum of all payouts."""
        return sum((line.payable for line in self.paid), NOTHING)

    @property
    def fingerprint(self) -> str:
        """What a manager agrees to by confirming: who is paid, by which entries, and to which account."""
        agreed = [
            [line.referrer.pk, str(line.payable), sorted(line.entries), *_account(line.details)] for line in self.paid
        ]
        return hashlib.sha256(json.dumps(sorted(agreed)).encode()).hexdigest()


def select_preview(*, cutoff: date, minimum: Decimal, referrers: Collection[int] | None = None) -> Preview:
    """Return who is paid by a batch and who is not; of these referrers alone where they are given.

    An entry is due if its conversion is available at any time of the cut-off day, Almaty time.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _OPEN,
            {
                "until": day_start(cutoff + timedelta(days=1)),
                "no_hold": list(_NO_HOLD),
                "referrers": None if referrers is None else sorted(referrers),
            },
        )
        # Sums that are all nothing need nobody's attention.
        rows = {row[0]: row[1:] for row in cursor.fetchall() if row[1] or row[3] or row[4]}
    people = Referrer.objects.in_bulk(list(rows))
    details = {one.referrer_id: one for one in BankDetails.objects.filter(referrer__in=list(rows))}
    paid: list[Line] = []
    unpaid: list[Line] = []
    for pk, (payable, entries, held, waiting) in rows.items():
        why = _why(people[pk], payable, held, minimum, details.get(pk))
        line = Line(people[pk], payable, entries, held, waiting, details.get(pk), why)
        (unpaid if why else paid).append(line)
    for lines in (paid, unpaid):
        lines.sort(key=lambda line: (-line.payable, line.referrer.code))
    return Preview(paid, unpaid)


def _account(details: BankDetails | None) -> tuple[str, ...]:
    return () if details is None else (details.recipient, details.iin, details.account)


def select_why(referrer: Referrer, *, cutoff: date, minimum: Decimal) -> Why:
    """Return why a batch of this day would not pay a referrer; PAID too where there is nothing that it could pay."""
    preview = select_preview(cutoff=cutoff, minimum=minimum, referrers=[referrer.pk])
    return preview.unpaid[0].why if preview.unpaid else Why.PAID


def _why(referrer: Referrer, payable: Decimal, held: Decimal, minimum: Decimal, details: BankDetails | None) -> Why:
    if not referrer.claimed:
        return Why.UNCLAIMED
    if not referrer.active:
        return Why.INACTIVE
    if payable < 0:
        return Why.OWES
    if payable == 0:
        return Why.HELD if held else Why.WAITING
    if payable < minimum:
        return Why.MINIMUM
    return Why.PAID if details else Why.NO_DETAILS
