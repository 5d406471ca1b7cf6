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
from referrals.judgement import UNJUDGED, Judgement, Person, hold_reasons, is_same_person
from referrals.locks import LockedReferrer, Referrers, lock_parties, lock_referrers
from referrals.models import Conversion, Referrer
from referrals.plans import is_first_sale_asked, plan_of, select_plans
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
    # Whoever brought it, a sale may be its customer's first, or have been.
    sales = {deal.lead_id: deal.contact_id for deal in deals if deal.wins or deal.past_wins}
    if not (sales and is_first_sale_asked()):
        sales = {}
    if not concerned and not sales:
        return []
    customers = sales | {deal.lead_id: deal.contact_id for deal in concerned}
    lead_ids = sorted(customers)
    # Also those that they were until now: others may be looking at all deals of theirs at this moment.
    left_contacts = {deal.left_contact for deal in deals if deal.lead_id in customers}
    contacts = {one for one in (*customers.values(), *left_contacts) if one is not None}
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
    return settle(wanted, stored, referrers, plans, sales=sales, notes=left)


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
    sales: Mapping[int, int | None] | None = None,
    by: int | None = None,
    notes: Mapping[int, str] | None = None,
) -> list[Entry]:
    """Write these conversions as they should be, and post what is missing between the ledger and the targets.

    `stored` is what the table has of them; whom they concern is locked (locks.py) and among `referrers`. Holds and
    rejections are found here. Where one month's number of sales comes to another tier, or a customer's first sale is
    another one, the conversions that depend on it are posted to as well. `sales`: deals that may be their customer's
    first, or were, with the customer, whoever brought them. `by`: which person changed it; `notes`: why, by deal, where
    the conversion itself does not say.
    """
    judgements = select_judgements(wanted)
    people = select_people(customers_of(wanted.values()))
    wanted = {
        lead_id: _judged(
            conversion,
            referrers[conversion.referrer],
            people,
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
    affected = select_of_months({month for month in months if tier(before[month]) != tier(after[month])}, tiered)
    # The old and the new customer of each deal.
    served = [*(sales or {}).items(), *((one.lead_id, one.contact_id) for one in moved)]
    if firsts := [plan.id for plan in plans.values() if plan.first_sale_only]:
        customers = {contact_id for _, contact_id in served if contact_id is not None}
        affected |= select_of_customers(customers, {lead_id for lead_id, _ in served}, firsts)
    affected = {lead_id: conversion for lead_id, conversion in affected.items() if lead_id not in wanted}
    if affected:
        judgements |= select_judgements(affected)
    changers = {lead_id: _changers(conversion, moved, served) for lead_id, conversion in affected.items()}
    return posting.post(wanted, affected, plans, judgements, changers=changers, by=by, notes=notes or {})


def _changers(
    affected: StoredConversion, moved: Collection[StoredConversion], served: Collection[tuple[int, int | None]]
) -> set[int]:
    """Return the deals whose changes concern a conversion: its month's and its customer's; all where it is neither's
    any more."""
    found = {one.lead_id for one in moved if one.month == affected.month}
    found |= {lead_id for lead_id, contact_id in served if contact_id is not None and contact_id == affected.contact_id}
    return found or {lead_id for lead_id, _ in served}


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
        self_referral=old is not None
        and (old.referrer, old.contact_id, old.self_referral) == (referrer.id, deal.contact_id, True),
    )


def _plan(at: datetime, referrer: LockedReferrer, old: StoredConversion | None, plans: Plans) -> int | None:
    """Return the plan that a sale earns by: the one that it has, unless the sale's day or the referrer is another."""
    day = business_day(at)
    if old is not None and old.plan and old.referrer == referrer.id and business_day(old.sale_date) == day:
        return old.plan
    chosen = plan_of(day, referrer, referrer.group, plans)
    return chosen.id if chosen else None


def _judged(
    conversion: StoredConversion,
    referrer: LockedReferrer,
    people: Mapping[int, Person | None],
    judgement: Judgement,
) -> StoredConversion:
    """Return a conversion with what holds it back, and whether it was rejected."""
    self_referral = False
    if conversion.contact_id is not None and conversion.contact_id in people:
        customer = people[conversion.contact_id]
        # Of who was forgotten nobody can tell any more: it stays as it was.
        self_referral = conversion.self_referral if customer is None else is_same_person(referrer.person, customer)
    holds = hold_reasons(
        claimed=referrer.claimed,
        active=referrer.active,
        self_referral=self_referral,
        campaign_owner=conversion.campaign_owner,
    )
    hold = next((hold for hold in holds if hold not in judgement.released), "")
    return conversion._replace(hold_reason=hold, rejected=judgement.rejected, self_referral=self_referral)
