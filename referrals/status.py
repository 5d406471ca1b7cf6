"""Where a commission stands: the one place that derives it. Lists filter by it, pages and the cabinet put it in words.

It is SQL, so that a list of a hundred thousand rows is filtered, counted and paged by what the page shows; joins, not a
subquery for each row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import models
from django.db.models import Case, CharField, F, FilteredRelation, Q, QuerySet, Value, When
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from onai_project.money import money
from onai_project.periods import zone
from onai_project.stored_reasons import reason_text
from referrals.commissions import NOTHING
from referrals.models import Conversion, Earning, Referrer
from referrals.payouts.models import Payout


class Status(models.TextChoices):
    """What stands between a commission and the referrer. The first that applies, from top to bottom."""

    REVERSED = "reversed", gettext_lazy("Taken back")  # the deal is not won, or another's now, or a person rejected it
    NOTHING = "nothing", gettext_lazy("Earns nothing")  # by the terms, or all of it went back to the customer
    FAILED = "failed", gettext_lazy("Not transferred")  # the bank refused some of it; the payout says why
    PAID = "paid", gettext_lazy("Paid")  # and nothing of it is left to pay
    IN_PAYOUT = "in_payout", gettext_lazy("In a payout")  # all that is not paid
    HOLD = "hold", gettext_lazy("On hold")  # conversion.hold_reason says why
    UNKNOWN = "unknown", gettext_lazy("Amount not known")
    WAITING = "waiting", gettext_lazy("Waiting")  # for available_at
    AVAILABLE = "available", gettext_lazy("Available")


COLOURS = {
    Status.REVERSED: "",
    Status.NOTHING: "",
    Status.FAILED: "danger",
    Status.PAID: "success",
    Status.IN_PAYOUT: "info",
    Status.HOLD: "warning",
    Status.UNKNOWN: "warning",
    Status.WAITING: "info",
    Status.AVAILABLE: "success",
}


def with_status(
    conversions: QuerySet[Conversion], now: datetime, referrer: Referrer, *, only: str = ""
) -> QuerySet[Any]:
    """Annotate Conversions with `status`, `commission`, its parts `open`, `paid`, `moving`, `failed` and the payouts of
    Standing, with `paid_on` and `failure`, as a referrer sees them, whose they may be no more; and with `open_status`,
    which is the open part's own.

    `only` leaves those of one status. A page of a long list is quicker by `page_with_status`.
    """
    return _with_status(conversions, now, Q(standings__referrer=referrer), referrer, only)


def page_with_status(pks: Sequence[int], now: datetime, referrer: Referrer | None = None) -> list[Any]:
    """Return these Conversions, the page of a list, in this order, as with_status has them; without a referrer, as
    each one's own sees it.

    The ledger is asked for these alone, not for all that the list passed over.
    """
    whose = Q(standings__referrer=F("referrer") if referrer is None else referrer)
    rows = _with_status(
        Conversion.objects.filter(pk__in=pks).select_related("referrer", "plan"),
        now,
        whose & Q(standings__conversion__in=pks),
        referrer,
    ).in_bulk()
    return [rows[pk] for pk in pks]


def with_entry_status(entries: QuerySet[Earning], now: datetime, *, only: str = "") -> QuerySet[Any]:
    """Annotate ledger entries (Earning) with `status`, by their conversion's day and hold, and `payout_number`;
    `only` leaves those of one status."""
    rules = {
        Status.FAILED: Q(item__payout__state=Payout.State.FAILED),
        Status.PAID: Q(item__payout__state=Payout.State.PAID),
        Status.IN_PAYOUT: Q(item__payout__state=Payout.State.CONFIRMED),
        Status.REVERSED: ~Q(conversion__state=Conversion.State.WON)
        | ~Q(conversion__rejected="")
        | ~Q(conversion__referrer=F("referrer")),
        **_open("conversion__", Q(conversion__available_at__gt=now)),
    }
    # Of an entry's items at most one is live: an index says so.
    item = FilteredRelation("payout_items", condition=Q(payout_items__live=True))
    return _ruled(entries.annotate(item=item, payout_number=F("item__payout")), rules, only)


def status_sentence(status: str, conversion: Any) -> str:
    """Return a status in the words of a manager's page: with why, from which day on, in which payout.

    Payouts, and what of the commission is paid already, are told where the row has them (page_with_status).
    """
    sentence = _sentence(status, conversion)
    paid = getattr(conversion, "paid", NOTHING)
    if paid > 0 and status not in (Status.PAID, Status.REVERSED, Status.NOTHING):
        return _("%(status)s; %(sum)s is paid") % {"status": sentence, "sum": money(paid)}
    return sentence


def _sentence(status: str, conversion: Any) -> str:
    match status:
        case Status.HOLD:
            return _("On hold: %(why)s") % {"why": lower_first(conversion.get_hold_reason_display())}
        case Status.WAITING:
            day = date_format(timezone.localtime(conversion.available_at, zone()), "SHORT_DATE_FORMAT")
            return _("Available on %(day)s") % {"day": day}
        case Status.FAILED if number := getattr(conversion, "failed_in", None):
            return _("Payout № %(number)s was not transferred: %(why)s") % {
                "number": number,
                "why": conversion.failure.rstrip("."),
            }
        case Status.IN_PAYOUT if number := getattr(conversion, "moving_in", None):
            return _("In payout № %(number)s") % {"number": number}
        case Status.PAID if paid_on := getattr(conversion, "paid_on", None):
            return _("Paid on %(day)s") % {"day": date_format(paid_on, "SHORT_DATE_FORMAT")}
        case Status.REVERSED if conversion.rejected:
            return _("Rejected: %(why)s") % {"why": reason_text(conversion.rejected)}
    return str(Status(status).label)


def lower_first(text: str) -> str:
    """Return a sentence as a part of another one."""
    return text[:1].lower() + text[1:]


def _with_status(
    conversions: QuerySet[Conversion], now: datetime, whose: Q, referrer: Referrer | None, only: str = ""
) -> QuerySet[Any]:
    lost = ~Q(state=Conversion.State.WON) | ~Q(rejected="")
    if referrer is not None:
        lost |= ~Q(referrer=referrer)
    open_rules = _open("", Q(available_at__gt=now))
    # Nothing of it is left for a later payout. What is deducted in one is no part that is on its way.
    settled = Q(standing__open__lte=0)
    rules = {
        Status.REVERSED: lost,
        Status.NOTHING: Q(sale_amount__isnull=False) & (Q(standing__posted=0) | Q(standing__posted=None)),
        Status.FAILED: Q(standing__failed__gt=0),
        Status.PAID: settled & Q(standing__moving__lte=0, standing__paid__gt=0),
        Status.IN_PAYOUT: settled & Q(standing__moving__gt=0),
        **open_rules,
    }
    rows = conversions.annotate(
        standing=FilteredRelation("standings", condition=whose),
        commission=Coalesce(F("standing__posted"), Value(NOTHING)),
        **{part: Coalesce(F(f"standing__{part}"), Value(NOTHING)) for part in ("open", "paid", "moving", "failed")},
        **{number: F(f"standing__{number}") for number in ("paid_in", "moving_in", "failed_in", "deducted_in")},
        paid_on=F("standing__paid_in__paid_on"),
        failure=F("standing__failed_in__reason"),
        open_status=_first(open_rules),
    )
    return _ruled(rows, rules, only)


def _open(conversion: str, waits: Q) -> dict[Status, Q]:
    return {
        Status.HOLD: ~Q(**{f"{conversion}hold_reason": ""}),
        Status.UNKNOWN: Q(**{f"{conversion}sale_amount": None}),
        Status.WAITING: waits,
    }


def _ruled(rows: QuerySet[Any], rules: Mapping[Status, Q], only: str) -> QuerySet[Any]:
    """Annotate the status of the first rule that applies, else available; leave those of the status `only`."""
    rows = rows.annotate(status=_first(rules))
    if only in rules:
        rows = rows.filter(rules[Status(only)])  # it follows from the status, and the planner knows how many these are
    return rows.filter(status=only) if only else rows


def _first(rules: Mapping[Status, Q]) -> Case:
    whens = [When(rule, then=Value(status)) for status, rule in rules.items()]
    return Case(*whens, default=Value(Status.AVAILABLE), output_field=CharField())
