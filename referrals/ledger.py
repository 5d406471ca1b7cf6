"""Conversions and the ledger, made to agree with the deals (level-triggered, law 4).

Money moves only by append (law 7): for each (conversion, referrer) the next entry is what is missing to its target.
Won, taken back, won again, another price, another referrer, any order: one code path.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import connection
from django.utils.translation import gettext_noop

from referrals.commissions import NOTHING, Plan, commission, movements, plan_for
from referrals.models import CommissionPlan, Conversion, Earning, Referrer
from webhooks import bulk
from webhooks.deals import select_causes
from webhooks.merge import DealState, Win
from webhooks.utm import referral_code

# Stored in English, shown in the reader's language.
OTHER_REFERRER = gettext_noop("the deal is another referrer's now")
TAKEN_BACK = gettext_noop("the sale was taken back")

_FIELDS = (
    "lead_id", "lead_name", "referrer", "utm_source", "pipeline_id", "sale_amount", "state", "moved", "plan",
    "sale_date", "available_at", "hold_reason", "updated_at",
)  # fmt: skip
_ENTRY_FIELDS = ("conversion", "referrer", "seq", "kind", "amount", "reason", "available_at", "delivery")
_SELECT = """
SELECT lead_id, lead_name, referrer_id, utm_source, pipeline_id, sale_amount, state, moved, plan_id,
       sale_date, available_at, hold_reason
FROM referral_conversions WHERE lead_id = ANY(%s::bigint[])
"""
_LOCK_MISSING = """
INSERT INTO referrers (code, name, phone, email, active, claimed)
SELECT code, '', '', '', true, false FROM unnest(%s::text[]) AS code ON CONFLICT (code) DO NOTHING
"""
# NO KEY: a foreign key's own lock on the same row must not wait.
_LOCK = """
SELECT id, code, active, claimed FROM referrers WHERE code = ANY(%s::text[]) OR id = ANY(%s::bigint[])
ORDER BY code FOR NO KEY UPDATE
"""
_POSTED = """
SELECT conversion.id, conversion.lead_id, earning.referrer_id, earning.available_at, coalesce(sum(earning.amount), 0),
       coalesce(max(max(earning.seq)) OVER (PARTITION BY conversion.id), 0)
FROM referral_conversions AS conversion LEFT JOIN referral_earnings AS earning ON earning.conversion_id = conversion.id
WHERE conversion.lead_id = ANY(%s::bigint[])
GROUP BY conversion.id, conversion.lead_id, earning.referrer_id, earning.available_at
"""


class StoredConversion(NamedTuple):
    """A row of referral_conversions, in the order of _FIELDS."""

    lead_id: int
    lead_name: str
    referrer: int
    utm_source: str
    pipeline_id: int | None
    sale_amount: Decimal | None
    state: str
    moved: bool
    plan: int | None
    sale_date: datetime
    available_at: datetime
    hold_reason: str


class LockedReferrer(NamedTuple):
    """A referrer whose row this transaction holds."""

    id: int
    code: str
    active: bool
    claimed: bool


def converge_conversions(deals: Sequence[DealState]) -> None:
    """Make conversions and the ledger agree with these deals.

    A won deal with a `ref_` source, in any pipeline, has a conversion and earns by the plan of its business day; one
    no longer won, or no longer the referrer's, earns nothing. An unknown code becomes an unclaimed referrer.
    """
    stored = _select([deal.lead_id for deal in deals])
    won = {
        deal.lead_id: (code, win)
        for deal in deals
        if (code := referral_code(deal.utm_source)) is not None and (win := deal.win()) is not None
    }
    concerned = [deal for deal in deals if deal.lead_id in stored or deal.lead_id in won]
    if not concerned:
        return
    referrers = lock_referrers(
        [code for code, _ in won.values()], (conversion.referrer for conversion in stored.values())
    )
    plans = select_plans()
    wanted = {}
    for deal in concerned:
        if deal.lead_id in won:
            code, win = won[deal.lead_id]
            wanted[deal.lead_id] = _conversion(deal, win, referrers[code], plans)
        else:
            wanted[deal.lead_id] = stored[deal.lead_id]._replace(state=Conversion.State.REVERSED)
    changed = [conversion for lead_id, conversion in wanted.items() if conversion != stored.get(lead_id)]
    now = datetime.now(UTC)
    bulk.upsert(
        Conversion, _FIELDS, [(*conversion, now) for conversion in changed], key=("lead_id",), volatile=("updated_at",)
    )
    _post(wanted, {plan.id: plan for plan in plans})


def lock_referrers(codes: Iterable[str], ids: Iterable[int] = ()) -> dict[str, LockedReferrer]:
    """Lock these referrers in the order of their codes, inserting unknown codes first (law 5); return them by code."""
    known = sorted(set(codes))
    with connection.cursor() as cursor:
        cursor.execute(_LOCK_MISSING, [known])
        cursor.execute(_LOCK, [known, sorted(set(ids))])
        return {row[1]: LockedReferrer(*row) for row in cursor.fetchall()}


def select_plans() -> list[Plan]:
    """Return all plans, in the order of their beginning."""
    rows = CommissionPlan.objects.order_by("valid_from").values_list(
        "id", "name", "kind", "value", "valid_from", "valid_to"
    )
    return [Plan(*row) for row in rows]


def hold_reason(referrer: LockedReferrer | Referrer) -> str:
    """Return why what this referrer earns cannot be paid; "" when it can."""
    if not referrer.claimed:
        return Conversion.Hold.UNCLAIMED
    return Conversion.Hold.NONE if referrer.active else Conversion.Hold.INACTIVE


def release_or_hold(referrer: Referrer) -> None:
    """Bring the conversions of a referrer whose `claimed` or `active` was changed in line with it."""
    lock_referrers([referrer.code])
    Conversion.objects.filter(referrer=referrer).exclude(hold_reason=hold_reason(referrer)).update(
        hold_reason=hold_reason(referrer), updated_at=datetime.now(UTC)
    )


def _conversion(deal: DealState, win: Win, referrer: LockedReferrer, plans: Sequence[Plan]) -> StoredConversion:
    """Return the row that a won referral deal should have."""
    day = win.at.astimezone(ZoneInfo(settings.TIME_ZONE)).date()
    plan = plan_for(day, plans)
    return StoredConversion(
        lead_id=deal.lead_id,
        lead_name=deal.name,
        referrer=referrer.id,
        utm_source=deal.utm_source,
        pipeline_id=win.pipeline_id or None,
        sale_amount=deal.price,
        state=Conversion.State.WON,
        moved=win.moved,
        plan=plan.id if plan else None,
        sale_date=win.at,
        available_at=win.at + timedelta(days=settings.REFERRAL_HOLD_DAYS),
        hold_reason=hold_reason(referrer),
    )


def _select(lead_ids: Sequence[int]) -> dict[int, StoredConversion]:
    with connection.cursor() as cursor:
        cursor.execute(_SELECT, [list(lead_ids)])
        return {row[0]: StoredConversion(*row) for row in cursor.fetchall()}


def _post(conversions: Mapping[int, StoredConversion], plans: Mapping[int, Plan]) -> None:
    """Append what is missing between the ledger and the targets of these conversions."""
    conversion_ids: dict[int, int] = {}
    posted: dict[int, dict[int, dict[datetime, Decimal]]] = {}
    last_seq: dict[int, int] = {}
    with connection.cursor() as cursor:
        cursor.execute(_POSTED, [list(conversions)])
        for conversion_id, lead_id, referrer_id, available_at, total, seq in cursor.fetchall():
            conversion_ids[lead_id] = conversion_id
            last_seq[lead_id] = seq
            if referrer_id is not None:
                posted.setdefault(lead_id, {}).setdefault(referrer_id, {})[available_at] = total
    entries = []
    for lead_id, conversion in sorted(conversions.items()):
        plan = plans.get(conversion.plan) if conversion.plan else None
        won = conversion.state == Conversion.State.WON
        targets = dict.fromkeys(posted.get(lead_id, ()), NOTHING)
        targets[conversion.referrer] = commission(conversion.sale_amount, plan) if won else NOTHING
        for referrer_id, target in targets.items():
            dated = posted.get(lead_id, {}).get(referrer_id, {})
            before = sum(dated.values(), NOTHING)
            kind, reason = _why(conversion, plan, before, target)
            for available_at, amount in movements(dated, target, conversion.available_at):
                last_seq[lead_id] += 1
                entries.append(
                    (
                        conversion_ids[lead_id],
                        referrer_id,
                        last_seq[lead_id],
                        kind,
                        amount,
                        reason,
                        available_at,
                        lead_id,
                    )
                )
    causes = select_causes({entry[-1] for entry in entries}) if entries else {}
    rows = [(*entry, causes.get(lead_id)) for *entry, lead_id in entries]
    bulk.insert(Earning, _ENTRY_FIELDS, rows)


def _why(conversion: StoredConversion, plan: Plan | None, before: Decimal, target: Decimal) -> tuple[str, str]:
    """Return the kind of an entry and the sentence that explains it."""
    if target == NOTHING:
        won = conversion.state == Conversion.State.WON
        return Earning.Kind.REVERSAL, OTHER_REFERRER if won else TAKEN_BACK
    terms = f"{plan.name}: {conversion.sale_amount}" if plan else ""
    return (Earning.Kind.ACCRUAL if before == NOTHING else Earning.Kind.ADJUSTMENT), terms
