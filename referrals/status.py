"""Where a commission stands: the one place that derives it. Lists filter by it, pages and the cabinet put it in words.

It is SQL, so that a list of a hundred thousand rows is filtered, counted and paged by what the page shows.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import models
from django.db.models import Case, CharField, F, Q, Value, When
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from onai_project.periods import zone
from onai_project.stored_reasons import reason_text
from referrals.models import Conversion


class Status(models.TextChoices):
    """What stands between a commission and the referrer. The first that applies, from top to bottom."""

    REVERSED = "reversed", gettext_lazy("Taken back")  # the deal is not won, or another's now, or a person rejected it
    PAID = "paid", gettext_lazy("Paid")
    IN_PAYOUT = "in_payout", gettext_lazy("In a payout")
    HOLD = "hold", gettext_lazy("On hold")  # conversion.hold_reason says why
    UNKNOWN = "unknown", gettext_lazy("Amount not known")
    WAITING = "waiting", gettext_lazy("Waiting")  # for available_at
    AVAILABLE = "available", gettext_lazy("Available")


COLOURS = {
    Status.REVERSED: "",
    Status.PAID: "success",
    Status.IN_PAYOUT: "info",
    Status.HOLD: "warning",
    Status.UNKNOWN: "warning",
    Status.WAITING: "info",
    Status.AVAILABLE: "success",
}


def conversion_status(now: datetime, referrer: Any = None) -> Case:
    """Return the SQL of a Conversion's status. `referrer`: as that one sees it, whose it may be no more."""
    lost = ~Q(state=Conversion.State.WON) | ~Q(rejected="")
    if referrer is not None:
        lost |= ~Q(referrer=referrer)
    return _case(lost, "", Q(available_at__gt=now))


def entry_status(now: datetime) -> Case:
    """Return the SQL of the status of a ledger entry (Earning): its own day, its conversion's hold."""
    lost = (
        ~Q(conversion__state=Conversion.State.WON)
        | ~Q(conversion__rejected="")
        | ~Q(conversion__referrer=F("referrer"))
    )
    return _case(lost, "conversion__", Q(available_at__gt=now))


def status_sentence(status: str, conversion: Conversion) -> str:
    """Return a status in the words of a manager's page: with why, or from which day on."""
    match status:
        case Status.HOLD:
            return _("On hold: %(why)s") % {"why": lower_first(conversion.get_hold_reason_display())}
        case Status.WAITING:
            day = date_format(timezone.localtime(conversion.available_at, zone()), "SHORT_DATE_FORMAT")
            return _("Available on %(day)s") % {"day": day}
        case Status.REVERSED if conversion.rejected:
            return _("Rejected: %(why)s") % {"why": reason_text(conversion.rejected)}
    return str(Status(status).label)


def lower_first(text: str) -> str:
    """Return a sentence as a part of another one."""
    return text[:1].lower() + text[1:]


def _case(lost: Q, conversion: str, waits: Q) -> Case:
    return Case(
        When(lost, then=Value(Status.REVERSED)),
        When(~Q(**{f"{conversion}hold_reason": ""}), then=Value(Status.HOLD)),
        When(Q(**{f"{conversion}sale_amount": None}), then=Value(Status.UNKNOWN)),
        When(waits, then=Value(Status.WAITING)),
        default=Value(Status.AVAILABLE),
        output_field=CharField(),
    )
