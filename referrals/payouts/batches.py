"""What managers do with batches and payouts. Every change is one transaction, guarded, and noted with who made it.

Locks (law 5): the batch, then referrers by code, then payouts by number. Workers take no batch and no payout. Whoever
calls several of these in one transaction calls payouts_lock first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import date
from decimal import Decimal

from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from onai_project.money import money
from onai_project.periods import today
from referrals.cabinet.news import tell_of_payouts
from referrals.locks import lock_referrers
from referrals.payouts.models import Payout, PayoutBatch, PayoutEvent
from referrals.payouts.preview import Line, select_preview

State = Payout.State
_ITEMS = """
INSERT INTO referral_payout_items (payout_id, earning_id, amount, live)
SELECT chosen.payout, earning.id, earning.amount, true
FROM unnest(%s::bigint[], %s::bigint[]) AS chosen (payout, earning)
JOIN referral_earnings AS earning ON earning.id = chosen.earning
"""


class PayoutError(Exception):
    """A manager asked for what can't be done; the text, in their language, says why and what helps."""


def batch_create(*, cutoff: date, minimum: Decimal, by: User) -> PayoutBatch:
    """Make a draft. It holds nothing: any number of drafts may stand, the first confirmed takes the entries.

    Raises PayoutError for a day that has not come.
    """
    if cutoff > today():
        raise PayoutError(_("The cut-off lies in the future: choose today or an earlier day."))
    with transaction.atomic():
        batch = PayoutBatch.objects.create(cutoff=cutoff, minimum=minimum, created_by=by)
        PayoutEvent.objects.create(batch=batch, kind=PayoutEvent.Kind.CREATED, by=by)
    return batch


def batch_confirm(*, batch: PayoutBatch, fingerprint: str, by: User) -> list[Payout]:
    """Freeze what the draft pays: a payout for each referrer with the entries it consists of.

    `fingerprint` is the previewed one. Raises PayoutError where people, entries or bank details are others by now,
    where there is nobody to pay, or where the batch is no draft any more.
    """
    with transaction.atomic():
        locked = _lock_batch(batch, PayoutBatch.State.DRAFT)
        seen = select_preview(cutoff=locked.cutoff, minimum=locked.minimum)
        # Under the locks nothing is posted, claimed or paid: what is read now is what is frozen.
        lock_referrers([], [line.referrer.pk for line in seen.paid])
        preview = select_preview(
            cutoff=locked.cutoff, minimum=locked.minimum, referrers=[line.referrer.pk for line in seen.paid]
        )
        if preview.fingerprint != fingerprint:
            raise PayoutError(
                _(
                    "People, entries or bank details have changed since you looked: now it is %(count)d people, in all "
                    "%(sum)s. Nothing is confirmed: check the list below again."
                )
                % {"count": len(preview.paid), "sum": money(preview.total)}
            )
        if not preview.paid:
            raise PayoutError(_("There is nobody to pay."))
        PayoutBatch.objects.filter(pk=locked.pk).update(state=PayoutBatch.State.CONFIRMED, confirmed_at=Now())
        payouts = _payouts_create(locked, preview.paid)
        note = f"{len(payouts)} · {money(preview.total)}"
        PayoutEvent.objects.create(batch=locked, kind=PayoutEvent.Kind.CONFIRMED, by=by, note=note)
    return payouts


def batch_void(*, batch: PayoutBatch, reason: str, by: User) -> None:
    """End a draft; or a confirmed batch of which nothing is paid, and give all its entries back.

    Raises PayoutError where a payout is paid, and for a confirmed batch without a reason.
    """
    with transaction.atomic():
        locked = _lock_batch(batch, PayoutBatch.State.DRAFT, PayoutBatch.State.CONFIRMED)
        payouts = _lock_payouts(Payout.objects.filter(batch=locked))
        if any(payout.state == State.PAID for payout in payouts):
            raise PayoutError(_("Some of it is paid already. Make the other payouts void one by one."))
        if payouts and not reason.strip():
            raise PayoutError(_("Say why: the reason stays with the payout."))
        _payouts_void([payout for payout in payouts if payout.state != State.VOID], reason, by)
        PayoutBatch.objects.filter(pk=locked.pk).update(state=PayoutBatch.State.VOID)
        PayoutEvent.objects.create(batch=locked, kind=PayoutEvent.Kind.VOID, by=by, note=reason.strip()[:300])


def payouts_lock(*, payouts: Collection[int]) -> None:
    """Lock all that changes of these payouts (ids) touch, in a transaction that makes several of them."""
    _lock_payouts(Payout.objects.filter(pk__in=payouts))


def payouts_mark_paid(*, payouts: Collection[int], paid_on: date, by: User, reference: str = "") -> int:
    """Note that these payouts (ids) were transferred on a day, and tell the referrers; return how many it changed.

    One that is paid already stays as it is. Raises PayoutError, and changes nothing, where one is void or the day lies
    in the future.
    """
    if paid_on > today():
        raise PayoutError(_("The day of the transfer lies in the future."))
    with transaction.atomic():
        locked = _lock_payouts(Payout.objects.filter(pk__in=payouts))
        _refuse(locked, {State.VOID})
        due = [payout for payout in locked if payout.state != State.PAID]
        Payout.objects.filter(pk__in=[payout.pk for payout in due]).update(
            state=State.PAID, paid_on=paid_on, reference=reference.strip()[:100], reason=""
        )
        _note(due, PayoutEvent.Kind.PAID, by, reference)
        tell_of_payouts(payout_ids=[payout.pk for payout in due])
    return len(due)


def payout_mark_failed(*, payout: int, reason: str, by: User) -> bool:
    """Note that the bank did not transfer a payout, and why; tell whether that is news.

    The entries stay in it, until it is paid after all or made void. Raises PayoutError for one that is paid or void,
    or without a reason.
    """
    if not reason.strip():
        raise PayoutError(_("Say why: the reason stays with the payout."))
    with transaction.atomic():
        locked = _lock_payouts(Payout.objects.filter(pk=payout))
        _refuse(locked, {State.VOID, State.PAID})
        due = [one for one in locked if one.state != State.FAILED]
        Payout.objects.filter(pk__in=[one.pk for one in due]).update(state=State.FAILED, reason=reason.strip()[:300])
        _note(due, PayoutEvent.Kind.FAILED, by, reason)
    return bool(due)


def payout_void(*, payout: int, reason: str, by: User) -> None:
    """Make a payout void: its entries are free for the next batch. Raises PayoutError for one that is paid or void."""
    if not reason.strip():
        raise PayoutError(_("Say why: the reason stays with the payout."))
    with transaction.atomic():
        locked = _lock_payouts(Payout.objects.filter(pk=payout))
        _refuse(locked, {State.VOID, State.PAID})
        _payouts_void(locked, reason, by)


def _payouts_create(batch: PayoutBatch, lines: Iterable[Line]) -> list[Payout]:
    lines = list(lines)
    payouts = Payout.objects.bulk_create(
        Payout(
            batch=batch,
            referrer=line.referrer,
            amount=line.payable,
            recipient=line.details.recipient,
            iin=line.details.iin,
            account=line.details.account,
        )
        for line in lines
        if line.details is not None
    )
    chosen = [(payout.pk, entry) for payout, line in zip(payouts, lines, strict=True) for entry in line.entries]
    with connection.cursor() as cursor:
        cursor.execute(_ITEMS, [[pk for pk, _entry in chosen], [entry for _pk, entry in chosen]])
    return payouts


def _payouts_void(payouts: Collection[Payout], reason: str, by: User) -> None:
    # The items end with it: a trigger.
    Payout.objects.filter(pk__in=[payout.pk for payout in payouts]).update(
        state=State.VOID, reason=reason.strip()[:300]
    )
    _note(payouts, PayoutEvent.Kind.VOID, by, reason)


def _lock_batch(batch: PayoutBatch, *states: str) -> PayoutBatch:
    # NO KEY: who notes a payout's event holds its referrer, and must not wait here for one who waits for the referrer.
    locked = PayoutBatch.objects.select_for_update(no_key=True).get(pk=batch.pk)
    if locked.state not in states:
        raise PayoutError(
            _("Batch %(batch)s is %(state)s already: somebody was faster.")
            % {"batch": locked, "state": locked.get_state_display().lower()}
        )
    return locked


def _lock_payouts(payouts: QuerySet[Payout]) -> list[Payout]:
    """Lock the referrers of these payouts by code, then the payouts by number."""
    lock_referrers([], payouts.values_list("referrer_id", flat=True))
    return list(payouts.select_for_update(no_key=True).order_by("pk"))


def _refuse(payouts: Iterable[Payout], states: set[str]) -> None:
    for payout in payouts:
        if payout.state in states:
            raise PayoutError(
                _("Payout %(payout)s is %(state)s, and that is final.")
                % {"payout": payout, "state": payout.get_state_display().lower()}
            )


def _note(payouts: Iterable[Payout], kind: str, by: User, note: str = "") -> None:
    PayoutEvent.objects.bulk_create(
        PayoutEvent(batch_id=payout.batch_id, payout=payout, kind=kind, by=by, note=note.strip()[:300])
        for payout in payouts
    )
