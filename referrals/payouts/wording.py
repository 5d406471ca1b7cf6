"""Why somebody is not paid, and where a batch stands, in sentences."""

from __future__ import annotations

from collections.abc import Collection
from decimal import Decimal

from django.utils.translation import gettext as _

from onai_project.money import money
from referrals.payouts.models import Payout, PayoutBatch
from referrals.payouts.preview import Line, Why


def why_sentence(line: Line, minimum: Decimal) -> str:
    """Return why a referrer is not paid, and what helps."""
    match line.why:
        case Why.UNCLAIMED:
            return _("Nobody has claimed the code")
        case Why.INACTIVE:
            return _("The referrer is not active")
        case Why.OWES:
            return _("More was taken back after a payout than earned since; it is deducted next time")
        case Why.HELD:
            return _("All of it is on hold and waits for a decision")
        case Why.WAITING:
            return _("Becomes available after the cut-off")
        case Why.MINIMUM:
            return _("Less than the minimum of %(sum)s") % {"sum": money(minimum)}
        case Why.NO_DETAILS:
            return _("No bank details")
    return ""


def batch_status(batch: PayoutBatch, states: Collection[str]) -> tuple[str, str]:
    """Return (colour, text) of a batch by the states of its payouts: a batch is paid when nothing of it is open."""
    if batch.state == PayoutBatch.State.DRAFT:
        return "", _("Draft")
    if batch.state == PayoutBatch.State.VOID:
        return "", _("Void")
    if Payout.State.FAILED in states:
        return "danger", _("Refusals")
    if Payout.State.CONFIRMED in states:
        return "info", _("Being paid")
    return ("success", _("Paid")) if Payout.State.PAID in states else ("", _("Void"))
