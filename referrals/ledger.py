"""Conversions and the ledger, made to agree with the deals and with what people decided (level-triggered, law 4).

Money moves only by append (law 7): for each (conversion, referrer) the next entry is what is missing to its target.
Won, taken back, won again, another price, another referrer, a refund, another number of sales in the month, in any
order: one code path, `settle`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from django.conf import settings

from referrals import posting
from referrals.commissions import Plan, tier
from referrals.conversions import (
    FIELDS,
    Conversions,
    Month,
    StoredConversion,
    business_day,
    count_months,
    customers_of,
    select_conversions,
    select_conversions_of,
    select_judgements,
    select_of_customers,
    select_of_months,
    select_people,
)
from referrals.judgement import UNJUDGED, Judgement, Person, hold_reasons
from referrals.locks import LockedReferrer, Referrers, lock_parties, lock_referrers
from referrals.models import Conversion, Referrer
from referrals.plans import plan_of, select_plans
from referrals.posting import OTHER_REFERRER as OTHER_REFERRER
from referrals.posting import TAKEN_BACK as TAKEN_BACK
from referrals.posting import Entry
from webhooks import bulk, registry
from webhooks.merge import DealState, Win
from webhooks.utm import referral_code

Plans = Mapping[int, Plan]


def converge_conversions(deals: Sequence[DealState]) -> list[Entry]:
    """Make conversions and the ledger agree with these deals, which are locked; return what was posted.

    A won deal with a `ref_` source, in any pipeline, has a conversion and earns by the plan of its business day; one
    no longer won, or no longer the referrer's, earns nothing. An unknown code becomes an unclaimed referrer.
    """
    won = {
        deal.lead_id: (code, win)
        for deal in deals
        if (code := referral_code(deal.utm_source)) is not None and (win := deal.win()) is not None
    }
    # Which conversions there are is sure, for the deals are locked; what is in them only under the referrers' locks.
    known = select_conversions([deal.lead_id for deal in deals])
    concerned = [deal for deal in deals if deal.lead_id in known or deal.lead_id in won]
    if not concerned:
        return []
    lead_ids = [deal.lead_id for deal in concerned]
    contacts = {deal.contact_id for deal in concerned if deal.contact_id is not None}
    referrers = lock_parties(lead_ids, contacts=contacts, codes=[code for code, _ in won.values()])
    by_code = {referrer.code: referrer for referrer in referrers.values()}
    plans = select_plans()
    stored = select_conversions(known) if known else {}
    owners = registry.campaign_owners({deal.utm_campaign for deal in concerned if deal.lead_id in won})
    wanted = {}
    for deal in concerned:
        old = stored.get(deal.lead_id)
        if deal.lead_id in won:
            code, win = won[deal.lead_id]
            owner = owners.get(deal.utm_campaign, "")
            if old is not None and old.utm_campaign == deal.utm_campaign:
                owner = old.campaign_owner  # a changed rule moves nothing by itself
            wanted[deal.lead_id] = _conversion(deal, win, by_code[code], old, plans, owner)
        elif old is not None:
            wanted[deal.lead_id] = old._replace(state=Conversion.State.REVERSED)
    # Won all the same, only not by a referrer any more.
    left = {deal.lead_id: posting.NO_REFERRAL for deal in concerned if deal.lead_id not in won and deal.win()}
    return settle(wanted, stored, referrers, plans, notes=left)


def reconsider_referrer(referrer: Referrer) -> list[Entry]:
    """Bring the conversions of a referrer whose record was changed in line with it: may they be paid?"""
    referrers = lock_referrers([referrer.code])
    stored = select_conversions_of(referrer.pk)
    return settle(stored, stored, referrers, select_plans())


def settle(
    wanted: Conversions,
    stored: Conversions,
    referrers: Referrers,
    plans: Plans,
    *,
    by: int | None = None,
    notes: Mapping[int, str] | None = None,
) -> list[Entry]:
    """Write these conversions as they should be, and post what is missing between the ledger and the targets.

    `stored` is what the table has of them; whom they concern is locked (locks.py) and among `referrers`. Holds and
    rejections are found here. Where one month's number of sales comes to another tier, or a customer's first sale is
    another one, the conversions that depend on it are posted to as well. `by`: which person changed it; `notes`: why,
    by deal, where the conversion itself does not say.
    """
    judgements = select_judgements(wanted)
    people = select_people(customers_of(wanted.values()))
    wanted = {
        lead_id: _judged(
            conversion,
            referrers[conversion.referrer],
            people.get(conversion.contact_id) if conversion.contact_id is not None else None,
            judgements.get((lead_id, conversion.referrer), UNJUDGED),
        )
        for lead_id, conversion in wanted.items()
    }
    changed = [conversion for lead_id, conversion in wanted.items() if conversion != stored.get(lead_id)]
    moved = [new for new in changed if (old := stored.get(new.lead_id)) is None or old.weight != new.weight]
    moved += [stored[new.lead_id] for new in moved if new.lead_id in stored]
    tiered = [plan.id for plan in plans.values() if plan.is_tiered]
    months = {conversion.month for conversion in moved} if tiered else set()
    before = count_months(months)
    now = datetime.now(UTC)
    bulk.upsert(
        Conversion,
        (*FIELDS, "updated_at"),
        [(*conversion, now) for conversion in changed],
        key=("lead_id",),
        volatile=("updated_at",),
    )
    after = count_months(months)
    affected = _affected(moved, {month for month in months if tier(before[month]) != tier(after[month])}, plans, tiered)
    affected = {lead_id: conversion for lead_id, conversion in affected.items() if lead_id not in wanted}
    if affected:
        judgements |= select_judgements(affected)
    changers = {lead_id: _changers(conversion, moved) for lead_id, conversion in affected.items()}
    return posting.post(wanted, affected, plans, judgements, changers=changers, by=by, notes=notes or {})


def _changers(affected: StoredConversion, moved: Collection[StoredConversion]) -> set[int]:
    """Return the deals whose changes concern a conversion: its month's, and its customer's."""
    return {
        one.lead_id
        for one in moved
        if one.month == affected.month or (one.contact_id is not None and one.contact_id == affected.contact_id)
    }


def _affected(
    moved: Collection[StoredConversion], months: Collection[Month], plans: Plans, tiered: Collection[int]
) -> Conversions:
    """Return the conversions whose commission depends on others that changed."""
    affected = select_of_months(months, tiered)
    if firsts := [plan.id for plan in plans.values() if plan.first_sale_only]:
        affected |= select_of_customers(customers_of(moved), firsts)
    return affected


def _conversion(
    deal: DealState, win: Win, referrer: LockedReferrer, old: StoredConversion | None, plans: Plans, owner: str
) -> StoredConversion:
    """Return the row that a won referral deal should have, but for what is judged (settle)."""
    return StoredConversion(
        lead_id=deal.lead_id,
        lead_name=deal.name,
        referrer=referrer.id,
        contact_id=deal.contact_id,
        utm_source=deal.utm_source,
        utm_campaign=deal.utm_campaign,
        pipeline_id=win.pipeline_id or None,
        sale_amount=deal.price,
        state=Conversion.State.WON,
        moved=win.moved,
        plan=_plan(win.at, referrer, old, plans),
        sale_date=win.at,
        available_at=win.at + timedelta(days=settings.REFERRAL_HOLD_DAYS),
        hold_reason="",
        campaign_owner=owner[:200],
        rejected="",
    )


def _plan(at: datetime, referrer: LockedReferrer, old: StoredConversion | None, plans: Plans) -> int | None:
    """Return the plan that a sale earns by: the one that it has, unless the sale's day or the referrer is another."""
    day = business_day(at)
    if old is not None and old.plan and old.referrer == referrer.id and business_day(old.sale_date) == day:
        return old.plan
    chosen = plan_of(day, referrer, referrer.group, plans)
    return chosen.id if chosen else None


def _judged(
    conversion: StoredConversion, referrer: LockedReferrer, customer: Person | None, judgement: Judgement
) -> StoredConversion:
    """Return a conversion with what holds it back, and whether it was rejected."""
    holds = hold_reasons(
        claimed=referrer.claimed,
        active=referrer.active,
        referrer=referrer.person,
        customer=customer,
        campaign_owner=conversion.campaign_owner,
    )
    hold = next((hold for hold in holds if hold not in judgement.released), "")
    return conversion._replace(hold_reason=hold, rejected=judgement.rejected)
