"""What people decide of conversions: release, reject, refund, correct, recalculate; written down with who and why.

Every function locks as law 5 says, writes the decision, and lets the ledger settle. With `preview=True` all of it is
done and undone, so what is shown is what will be. `expected` is the mark of the preview that a person agreed to: it is
good for that outcome alone, and once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal

from django.contrib.auth.models import User
from django.db import transaction
from django.utils.translation import gettext_noop

from onai_project.periods import day_start
from referrals.conversions import (
    Conversions,
    business_day,
    select_conversions,
    select_judgements,
)
from referrals.judgement import UNJUDGED, hold_reasons
from referrals.ledger import settle
from referrals.locks import Referrers, lock_conversions
from referrals.models import Conversion, Decision, Referrer
from referrals.plans import plan_of, select_plans
from referrals.posting import Entry
from referrals.signals import entries_posted
from webhooks.reasons import because

# Stored in English, shown in the reader's language.
REFUNDED = gettext_noop("refund to the customer")
CORRECTED = gettext_noop("correction")
REOPENED = gettext_noop("the rejection was withdrawn")
RECALCULATED = gettext_noop("recalculated")

Kind = Decision.Kind


class Undecidable(ValueError):
    """The decision makes no sense for this conversion; the text, translatable, says why."""


NOT_HELD = gettext_noop("Nothing that a person may release holds this conversion back.")
UNCLAIMED = gettext_noop("Nobody has claimed the code: say whose it is, and the hold is off.")
INACTIVE = gettext_noop("The referrer is not active: make them active, and the hold is off.")
ALREADY_REJECTED = gettext_noop("It is rejected already.")
NOT_REJECTED = gettext_noop("It is not rejected.")
NOT_WON = gettext_noop("The sale was taken back: there is nothing to decide.")
TOO_MUCH = gettext_noop("More than the customer paid.")
NO_AMOUNT = gettext_noop("The amount of the sale is not known yet.")
NOTHING_CHANGES = gettext_noop("Nothing would change.")
SOMETHING_ELSE = gettext_noop("Something changed since you looked. Look again.")
DONE_ALREADY = gettext_noop("It was decided already, a moment ago: this decision is written down once.")
# Holds that end with the referrer's record, and what is said to who would release them.
NOT_BY_RELEASE = {Conversion.Hold.UNCLAIMED.value: UNCLAIMED, Conversion.Hold.INACTIVE.value: INACTIVE}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a decision does, or would do: the entries that it posts, and the plans that it moves sales to."""

    kind: Decision.Kind
    reason: str
    amount: Decimal | None = None
    entries: Sequence[Entry] = ()
    plans: Mapping[int, int] = field(default_factory=dict)  # by deal, where it becomes another one
    after: int = 0  # the last decision on the conversion before this one

    @property
    def recalculated(self) -> int:
        """How many conversions go over to another plan."""
        return len(self.plans)

    @property
    def total(self) -> Decimal:
        """What the ledger gains or loses by it, in tenge."""
        return sum((entry.amount for entry in self.entries), Decimal(0))

    @property
    def mark(self) -> str:
        """A text that is another one when what was asked, what was decided before, an entry or a plan is."""
        asked = (self.kind.value, self.reason, self.amount)
        seen = repr((asked, sorted(self.plans.items()), [tuple(entry) for entry in self.entries]))
        return f"{self.after}.{hashlib.sha256(seen.encode()).hexdigest()[:32]}"


def conversion_release(*, lead_id: int, by: User, reason: str = "") -> Outcome:
    """Take off what holds a conversion back. Raises Undecidable; while its code is unclaimed or its referrer inactive,
    too: those holds end with the referrer's record."""
    with transaction.atomic():
        referrers = lock_conversions([lead_id])
        stored = select_conversions([lead_id])
        if (text := NOT_BY_RELEASE.get(stored[lead_id].hold_reason)) is not None:
            raise Undecidable(text)
        holds = releasable(stored)[lead_id]
        if not holds:
            raise Undecidable(NOT_HELD)
        _write_down(stored, Kind.RELEASE, by, reason, holds=holds)
        return Outcome(Kind.RELEASE, reason, entries=_settle(stored, stored, referrers, by, ""))


def conversion_reject(*, lead_id: int, by: User, reason: str, preview: bool = False, expected: str = "") -> Outcome:
    """Let a conversion earn nothing, for a reason that the referrer reads. Raises Undecidable."""
    return _decide(Kind.REJECT, lead_id, by, reason, preview=preview, expected=expected)


def conversion_reopen(*, lead_id: int, by: User, reason: str, preview: bool = False, expected: str = "") -> Outcome:
    """Withdraw a rejection. Raises Undecidable."""
    return _decide(Kind.REOPEN, lead_id, by, reason, preview=preview, expected=expected)


def conversion_refund(
    *, lead_id: int, by: User, reason: str, amount: Decimal, preview: bool = False, expected: str = ""
) -> Outcome:
    """Note that the customer got back a part of what they paid: the rest earns. Raises Undecidable."""
    return _decide(Kind.REFUND, lead_id, by, reason, amount=amount, preview=preview, expected=expected)


def conversion_correct(
    *, lead_id: int, by: User, reason: str, amount: Decimal, preview: bool = False, expected: str = ""
) -> Outcome:
    """Add to a conversion's commission, or take from it, for as long as the sale stands. Raises Undecidable."""
    return _decide(Kind.CORRECTION, lead_id, by, reason, amount=amount, preview=preview, expected=expected)


def conversions_recalculate(
    *,
    first: date,
    last: date,
    by: User,
    reason: str,
    referrer: Referrer | None = None,
    preview: bool = False,
    expected: str = "",
) -> Outcome:
    """Let the sales of these business days, both included, earn by the plans that hold now for their days.

    All referrers', or one's. `expected`: the mark of the preview that a person agreed to. Raises Undecidable where the
    outcome is another by now, and where there is none.
    """
    sales = Conversion.objects.filter(
        state=Conversion.State.WON,
        sale_date__gte=day_start(first),
        sale_date__lt=day_start(last + timedelta(days=1)),
        **({} if referrer is None else {"referrer": referrer}),
    )
    with transaction.atomic():
        lead_ids = sorted(sales.values_list("lead_id", flat=True))
        referrers = lock_conversions(lead_ids)
        stored = select_conversions(lead_ids)
        plans = select_plans()
        wanted = {}
        for lead_id, old in stored.items():
            whose = referrers[old.referrer]
            plan = plan_of(business_day(old.sale_date), whose, whose.group, plans)
            if plan is not None and plan.id != old.plan:
                wanted[lead_id] = old._replace(plan=plan.id)
        if not wanted:
            raise Undecidable(NOTHING_CHANGES)
        changed = {lead_id: stored[lead_id] for lead_id in wanted}
        _write_down(changed, Kind.RECALCULATION, by, reason)
        entries = _settle(wanted, changed, referrers, by, because(RECALCULATED, reason), of_history=True)
        new_plans = {lead_id: one.plan for lead_id, one in wanted.items() if one.plan is not None}
        outcome = Outcome(Kind.RECALCULATION, reason, entries=entries, plans=new_plans)
        if expected and outcome.mark != expected:
            raise Undecidable(SOMETHING_ELSE)
        if preview:
            transaction.set_rollback(True)
        return outcome


def releasable(conversions: Conversions) -> dict[int, list[str]]:
    """Return by deal what holds each conversion back now that a person may release."""
    judgements = select_judgements(conversions)
    found = {}
    for lead_id, one in conversions.items():
        reasons = hold_reasons(
            claimed=True,  # whose code it is, and whether they are active, nobody can release
            active=True,
            self_referral=one.self_referral,
            campaign_owner=one.campaign_owner,
        )
        released = judgements.get((lead_id, one.referrer), UNJUDGED).released
        found[lead_id] = [reason for reason in reasons if reason not in released]
    return found


def _decide(
    kind: Decision.Kind,
    lead_id: int,
    by: User,
    reason: str,
    *,
    amount: Decimal | None = None,
    preview: bool,
    expected: str,
) -> Outcome:
    """Decide, or show what it would do. `expected`: the mark of the preview that a person agreed to, good once."""
    with transaction.atomic():
        referrers = lock_conversions([lead_id])
        stored = select_conversions([lead_id])
        conversion = stored[lead_id]
        last = Decision.objects.filter(conversion__lead_id=lead_id).order_by("pk").last()
        after = last.pk if last is not None else 0
        if last is not None and expected and expected.partition(".")[0] != str(after):
            done = (last.kind, last.amount, last.reason, last.by_id) == (kind, amount, reason, by.pk)
            raise Undecidable(DONE_ALREADY if done else SOMETHING_ELSE)
        refunded = select_judgements(stored).get((lead_id, conversion.referrer), UNJUDGED).refunded
        if conversion.state != Conversion.State.WON:
            raise Undecidable(NOT_WON)
        if kind == Kind.REJECT and conversion.rejected:
            raise Undecidable(ALREADY_REJECTED)
        if kind == Kind.REOPEN and not conversion.rejected:
            raise Undecidable(NOT_REJECTED)
        if kind == Kind.REFUND:
            if conversion.sale_amount is None:
                raise Undecidable(NO_AMOUNT)
            if refunded + (amount or 0) > conversion.sale_amount:
                raise Undecidable(TOO_MUCH)
        _write_down(stored, kind, by, reason, amount=amount)
        note = {
            Kind.REOPEN: because(REOPENED, reason),
            Kind.REFUND: because(REFUNDED, reason),
            Kind.CORRECTION: because(CORRECTED, reason),
        }.get(kind, "")
        outcome = Outcome(kind, reason, amount, _settle(stored, stored, referrers, by, note), after=after)
        if expected and outcome.mark != expected:
            raise Undecidable(SOMETHING_ELSE)
        if preview:
            transaction.set_rollback(True)
        return outcome


def _write_down(
    conversions: Conversions,
    kind: Decision.Kind,
    by: User,
    reason: str,
    *,
    holds: Collection[str] = (),
    amount: Decimal | None = None,
) -> None:
    """Write the same decision for each of these conversions, for the referrer whose it is now."""
    keys = dict(Conversion.objects.filter(lead_id__in=conversions).values_list("lead_id", "id"))
    Decision.objects.bulk_create(
        Decision(
            conversion_id=keys[lead_id],
            referrer_id=conversion.referrer,
            kind=kind,
            holds=list(holds),
            amount=amount,
            reason=reason,
            by=by,
        )
        for lead_id, conversion in sorted(conversions.items())
    )


def _settle(
    wanted: Conversions, stored: Conversions, referrers: Referrers, by: User, note: str, *, of_history: bool = False
) -> list[Entry]:
    entries = settle(
        wanted, stored, referrers, select_plans(), by=by.pk, notes=dict.fromkeys(wanted, note) if note else None
    )
    if entries:
        lead_ids = {entry.lead_id for entry in entries}
        entries_posted.send(sender=None, lead_ids=lead_ids, of_history=of_history)
    return entries
