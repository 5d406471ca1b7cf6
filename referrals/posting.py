"""What is missing between the ledger and the targets of conversions, appended: the only place that writes entries."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from django.db import connection
from django.utils.translation import gettext_noop

from referrals.commissions import NOTHING, Plan, commission, movements
from referrals.conversions import (
    Conversions,
    Month,
    StoredConversion,
    count_months,
    customers_of,
    note_earlier_sales,
    select_firsts,
)
from referrals.judgement import UNJUDGED, Judgement
from referrals.models import Conversion, Earning
from referrals.plan_text import rate_text
from webhooks import bulk
from webhooks.deals import select_causes
from webhooks.reasons import because

# Stored in English, shown in the reader's language.
OTHER_REFERRER = gettext_noop("the deal is another referrer's now")
TAKEN_BACK = gettext_noop("the sale was taken back")
NO_REFERRAL = gettext_noop("the deal is no longer by a referral link")
REJECTED = gettext_noop("rejected")
NOT_FIRST = gettext_noop("not the customer's first sale")
OTHER_TIER = gettext_noop("another number of sales in the month")
NOT_KNOWN = gettext_noop("the amount is not known any more")

_FIELDS = ("conversion", "referrer", "seq", "kind", "amount", "reason", "available_at", "delivery", "by")
_POSTED = """
SELECT conversion.id, conversion.lead_id, earning.referrer_id, earning.available_at, coalesce(sum(earning.amount), 0),
       coalesce(max(max(earning.seq)) OVER (PARTITION BY conversion.id), 0)
FROM referral_conversions AS conversion LEFT JOIN referral_earnings AS earning ON earning.conversion_id = conversion.id
WHERE conversion.lead_id = ANY(%s::bigint[])
GROUP BY conversion.id, conversion.lead_id, earning.referrer_id, earning.available_at
"""


class Entry(NamedTuple):
    """An entry of the ledger as it is posted."""

    conversion: int
    referrer: int
    seq: int
    kind: str
    amount: Decimal
    reason: str
    available_at: datetime
    lead_id: int


class Posted(NamedTuple):
    """What the ledger has of one conversion."""

    id: int
    seq: int  # the last entry's
    sums: dict[int, dict[datetime, Decimal]]  # by referrer and by the day from which it can be paid


class Terms(NamedTuple):
    """What one conversion earns by."""

    plan: Plan | None
    sales: int  # won conversions in the referrer's month; 0 where the plan does not ask
    earlier: int | None  # the customer's first sale where it is another deal; None where the plan does not ask
    judgement: Judgement


def post(
    touched: Conversions,
    affected: Conversions,
    plans: Mapping[int, Plan],
    judgements: Mapping[tuple[int, int], Judgement],
    *,
    changers: Mapping[int, Collection[int]],
    by: int | None = None,
    notes: Mapping[int, str],
) -> list[Entry]:
    """Append what is missing to the targets of these conversions, as stored; return it.

    `affected` are those that only other deals' changes concern: `changers` says which. `notes` are reasons, by deal,
    that whoever changed something knows better. A person's entries have `by`; others name the delivery that their deal
    rests on, or that the deal rests on which changed what they earn.
    """
    conversions = touched | affected
    if not conversions:
        return []
    entries: list[Entry] = []
    terms = _terms(conversions, plans, judgements)
    posted = _posted(conversions)
    note_earlier_sales(
        {lead_id: one.earlier for lead_id, one in terms.items() if one.plan and one.plan.first_sale_only}
    )
    for lead_id, conversion in sorted(conversions.items()):
        known = posted[lead_id]
        seq = known.seq
        targets = dict.fromkeys(known.sums, NOTHING)
        targets[conversion.referrer] = target(conversion, terms[lead_id])
        for referrer_id, goal in targets.items():
            sums = known.sums.get(referrer_id, {})
            before = sum(sums.values(), NOTHING)
            if goal == before:
                continue
            kind, reason = _why(conversion, referrer_id, terms[lead_id], before, goal, lead_id in affected)
            reason = notes.get(lead_id, reason)
            for available_at, amount in movements(sums, goal, conversion.available_at):
                seq += 1
                entries.append(Entry(known.id, referrer_id, seq, kind, amount, reason, available_at, lead_id))
    if entries:
        causes = {} if by is not None else _causes({entry.lead_id for entry in entries}, changers)
        rows = [(*entry[:-1], causes.get(entry.lead_id), by) for entry in entries]
        bulk.insert(Earning, _FIELDS, rows)
    return entries


def _causes(lead_ids: Collection[int], changers: Mapping[int, Collection[int]]) -> dict[int, int]:
    """Return the delivery that led to these deals' entries: the last of what each deal, or its changers, rest on."""
    changed_by = {lead_id: changers.get(lead_id, (lead_id,)) for lead_id in lead_ids}
    newest = select_causes({changer for deals in changed_by.values() for changer in deals})
    found = {lead_id: [one for deal in deals if (one := newest.get(deal))] for lead_id, deals in changed_by.items()}
    return {lead_id: max(deliveries) for lead_id, deliveries in found.items() if deliveries}


def select_balances(
    conversions: Conversions, plans: Mapping[int, Plan], judgements: Mapping[tuple[int, int], Judgement]
) -> list[tuple[int, int, Decimal, Decimal]]:
    """Return (lead_id, referrer, what is posted, what should be) of these conversions, as stored. Writes nothing."""
    terms = _terms(conversions, plans, judgements)
    balances = []
    for lead_id, known in _posted(conversions).items():
        conversion = conversions[lead_id]
        targets = dict.fromkeys(known.sums, NOTHING) | {conversion.referrer: target(conversion, terms[lead_id])}
        for referrer_id, goal in targets.items():
            posted = sum(known.sums.get(referrer_id, {}).values(), NOTHING)
            balances.append((lead_id, referrer_id, posted, goal))
    return balances


def target(conversion: StoredConversion, terms: Terms) -> Decimal:
    """Return what the ledger should have of a conversion for its referrer."""
    if not conversion.counts:
        return NOTHING
    judgement = terms.judgement
    if terms.earlier is not None:
        return judgement.corrected
    earned = commission(conversion.sale_amount, terms.plan, count=terms.sales, refunded=judgement.refunded)
    return earned + judgement.corrected


def _terms(
    conversions: Conversions, plans: Mapping[int, Plan], judgements: Mapping[tuple[int, int], Judgement]
) -> dict[int, Terms]:
    """Return what each conversion earns by."""
    plan_of = {
        lead_id: plans[conversion.plan] if conversion.plan else None for lead_id, conversion in conversions.items()
    }
    tiered: dict[int, Month] = {}
    first_only = []
    for lead_id, plan in plan_of.items():
        if plan is not None and plan.is_tiered and conversions[lead_id].counts:
            tiered[lead_id] = conversions[lead_id].month
        if plan is not None and plan.first_sale_only:
            first_only.append(conversions[lead_id])
    counts = count_months(set(tiered.values()))
    firsts = select_firsts(customers_of(first_only))
    # A sale whose customer is not known is nobody's second.
    first_of = {one.lead_id: firsts.get(one.contact_id) for one in first_only if one.contact_id is not None}
    return {
        lead_id: Terms(
            plan_of[lead_id],
            counts[tiered[lead_id]] if lead_id in tiered else 0,
            first if (first := first_of.get(lead_id)) != lead_id else None,
            judgements.get((lead_id, conversion.referrer), UNJUDGED),
        )
        for lead_id, conversion in conversions.items()
    }


def _posted(conversions: Conversions) -> dict[int, Posted]:
    """Return what the ledger has of these conversions, by lead_id."""
    posted: dict[int, Posted] = {}
    with connection.cursor() as cursor:
        cursor.execute(_POSTED, [list(conversions)])
        for conversion_id, lead_id, referrer_id, available_at, total, seq in cursor.fetchall():
            known = posted.setdefault(lead_id, Posted(conversion_id, seq, {}))
            if referrer_id is not None:
                known.sums.setdefault(referrer_id, {})[available_at] = total
    return posted


def _why(
    conversion: StoredConversion, referrer_id: int, terms: Terms, before: Decimal, goal: Decimal, affected: bool
) -> tuple[str, str]:
    """Return the kind of an entry and the sentence that explains it."""
    if conversion.state != Conversion.State.WON:
        return Earning.Kind.REVERSAL, TAKEN_BACK
    if referrer_id != conversion.referrer:
        return Earning.Kind.REVERSAL, OTHER_REFERRER
    if conversion.rejected:
        return Earning.Kind.REVERSAL, because(REJECTED, conversion.rejected)
    kind = Earning.Kind.ACCRUAL if before == NOTHING else Earning.Kind.ADJUSTMENT
    if terms.earlier is not None:
        return Earning.Kind.REVERSAL if goal == NOTHING else kind, NOT_FIRST
    if conversion.sale_amount is None or terms.plan is None:
        return Earning.Kind.REVERSAL if goal == NOTHING else kind, NOT_KNOWN
    rate = f" · {rate_text(terms.plan, terms.plan.rate(terms.sales))}" if terms.plan.is_tiered else ""
    if affected and terms.sales:
        return kind, because(OTHER_TIER, f"{terms.sales}{rate}")
    return kind, f"{terms.plan.name}: {conversion.sale_amount}{rate}"
