"""Where a commission stands: the one place that derives it. Lists filter by it, pages and the cabinet put it in words.

It is SQL, so that a list of a hundred thousand rows is filtered, counted and paged by what the page shows.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import models
from django.db.models import Case, CharField, Exists, F, OuterRef, Q, QuerySet, Subquery, Sum, Value, When
from django.db.models.functions import Coalesce
from django.db.models.lookups import Exact, IsNull, LessThanOrEqual
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from onai_project.periods import zone
from onai_project.stored_reasons import reason_text
from referrals.models import Conversion, Earning
from referrals.payouts.models import Payout, PayoutItem


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
    # Scalar subqueries, for an EXISTS would be hashed whole for a page of fifty rows.
    payout = last_payout("state", referrer)
    left = Coalesce(Subquery(open_sum(OuterRef("pk"), OuterRef("referrer")).values("sum")), Value(Decimal(0)))
    # Nothing of it is left to pay; where it was paid, taken back, deducted and won again, all of it is.
    settled = IsNull(payout, False) & LessThanOrEqual(left, Value(Decimal(0)))
    return Case(
        When(lost, then=Value(Status.REVERSED)),
        When(settled & Exact(payout, Value(Payout.State.PAID)), then=Value(Status.PAID)),
        When(settled, then=Value(Status.IN_PAYOUT)),
        *_open("", Q(available_at__gt=now)),
        default=Value(Status.AVAILABLE),
        output_field=CharField(),
    )


def last_payout(field: str, referrer: Any = None) -> Subquery:
    """Return the SQL of a field of the last live payout that a Conversion is in; None where it is in none."""
    items = _items(OuterRef("pk"), OuterRef("referrer") if referrer is None else Value(referrer.pk))
    return Subquery(items.order_by("-payout_id").values(f"payout__{field}")[:1])


def open_sum(conversion: Any, referrer: Any) -> QuerySet[Any]:
    """Return the query of `sum`: what the ledger has of a conversion for a referrer that is in no live payout."""
    return (
        Earning.objects.filter(~Exists(PayoutItem.objects.filter(earning=OuterRef("pk"), live=True)))
        .filter(conversion=conversion, referrer=referrer)
        .order_by()
        .values("conversion")
        .annotate(sum=Sum("amount"))
    )


def entry_status(now: datetime) -> Case:
    """Return the SQL of the status of a ledger entry (Earning): its own day, its conversion's hold."""
    lost = (
        ~Q(conversion__state=Conversion.State.WON)
        | ~Q(conversion__rejected="")
        | ~Q(conversion__referrer=F("referrer"))
    )
    payout = Subquery(PayoutItem.objects.filter(earning=OuterRef("pk"), live=True).values("payout__state")[:1])
    return Case(
        When(Exact(payout, Value(Payout.State.PAID)), then=Value(Status.PAID)),
        When(IsNull(payout, False), then=Value(Status.IN_PAYOUT)),
        When(lost, then=Value(Status.REVERSED)),
        *_open("conversion__", Q(available_at__gt=now)),
        default=Value(Status.AVAILABLE),
        output_field=CharField(),
    )


def status_sentence(status: str, conversion: Conversion) -> str:
    """Return a status in the words of a manager's page: with why, from which day on, in which payout.

    The payout is told where the query has it: payout_number=last_payout("pk"), paid_on=last_payout("paid_on").
    """
    match status:
        case Status.HOLD:
            return _("On hold: %(why)s") % {"why": lower_first(conversion.get_hold_reason_display())}
        case Status.WAITING:
            day = date_format(timezone.localtime(conversion.available_at, zone()), "SHORT_DATE_FORMAT")
            return _("Available on %(day)s") % {"day": day}
        case Status.IN_PAYOUT if number := getattr(conversion, "payout_number", None):
            return _("In payout № %(number)s") % {"number": number}
        case Status.PAID if paid_on := getattr(conversion, "paid_on", None):
            return _("Paid on %(day)s") % {"day": date_format(paid_on, "SHORT_DATE_FORMAT")}
        case Status.REVERSED if conversion.rejected:
            return _("Rejected: %(why)s") % {"why": reason_text(conversion.rejected)}
    return str(Status(status).label)


def lower_first(text: str) -> str:
    """Return a sentence as a part of another one."""
    return text[:1].lower() + text[1:]


def _items(conversion: Any, referrer: Any) -> QuerySet[PayoutItem]:
    return PayoutItem.objects.filter(live=True, earning__conversion=conversion, earning__referrer=referrer)


def _open(conversion: str, waits: Q) -> list[When]:
    return [
        When(~Q(**{f"{conversion}hold_reason": ""}), then=Value(Status.HOLD)),
        When(Q(**{f"{conversion}sale_amount": None}), then=Value(Status.UNKNOWN)),
        When(waits, then=Value(Status.WAITING)),
    ]
