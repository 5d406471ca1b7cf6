"""Spans of whole days in settings.TIME_ZONE: what the dashboards and the admin's date filters ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

# A chart of more days than this can't be read, and its table is no page any more.
MAX_DAYS = 366
DEFAULT_PRESET = "7days"

PRESETS: dict[str, Promise] = {
    "today": _("Today"),
    "yesterday": _("Yesterday"),
    "7days": _("7 days"),
    "30days": _("30 days"),
    "month": _("This month"),
    "last_month": _("Last month"),
}


def zone() -> ZoneInfo:
    """Return the time zone of the business day."""
    return ZoneInfo(settings.TIME_ZONE)


def day_start(day: date) -> datetime:
    """Return the moment at which the business day begins."""
    return datetime.combine(day, time.min, tzinfo=zone())


def today() -> date:
    """Return the business day of this moment."""
    return timezone.localdate(timezone=zone())


@dataclass(frozen=True, slots=True)
class Period:
    """The days from `first` to `last`, both included; `preset` is "" for a span that somebody typed."""

    first: date
    last: date
    preset: str = ""

    @property
    def start(self) -> datetime:
        """The first moment that belongs to the period."""
        return day_start(self.first)

    @property
    def end(self) -> datetime:
        """The first moment that no longer belongs to it."""
        return day_start(self.last + timedelta(days=1))

    @property
    def days(self) -> list[date]:
        """Every day of the period, in order."""
        return [self.first + timedelta(days=n) for n in range((self.last - self.first).days + 1)]


def preset_period(preset: str, now: date) -> Period:
    """Return the period that a preset means on the day `now`. KeyError for a name that is none."""
    month_start = now.replace(day=1)
    before = month_start - timedelta(days=1)
    first, last = {
        "today": (now, now),
        "yesterday": (now - timedelta(days=1), now - timedelta(days=1)),
        "7days": (now - timedelta(days=6), now),
        "30days": (now - timedelta(days=29), now),
        "month": (month_start, now),
        "last_month": (before.replace(day=1), before),
    }[preset]
    return Period(first, last, preset)


def previous_period(period: Period, now: date) -> Period:
    """Return the span to compare a period with: as many days directly before it; of a month preset, the month before.

    Of a period that still runs on the day `now` only the elapsed days have a counterpart: the 1st to the 10th of this
    month stand beside the 1st to the 10th of the last. A shorter month before ends at its own end.
    """
    elapsed = (max(min(period.last, now), period.first) - period.first).days + 1
    before = period.first - timedelta(days=1)
    if period.preset in ("month", "last_month"):
        first, whole = before.replace(day=1), before.day
        days = whole if period.preset == "last_month" else min(elapsed, whole)
    else:
        length = (period.last - period.first).days + 1
        first, days = period.first - timedelta(days=length), elapsed
    return Period(first, first + timedelta(days=days - 1))


def parse_day(text: str) -> date | None:
    """Read a day as a browser (ISO) or a person writes it; None if empty. Raises ValidationError."""
    day: date | None = forms.DateField(required=False).clean(text.strip())
    return day


def period_from_query(query: Mapping[str, str], now: date | None = None) -> tuple[Period, str]:
    """Return the period that a URL asks for (`from` and `to`, or `period`), and "" or what is wrong with it.

    With something wrong the period is the default one.
    """
    now = now or today()
    default = preset_period(DEFAULT_PRESET, now)
    if not query.get("from") and not query.get("to"):
        try:
            return preset_period(query.get("period") or DEFAULT_PRESET, now), ""
        except KeyError:
            return default, str(_("There is no such period. The last 7 days are shown."))
    try:
        first, last = parse_day(query.get("from", "")), parse_day(query.get("to", ""))
    except (ValidationError, OverflowError):
        return default, str(_("This is not a date. The last 7 days are shown."))
    first = first or last or now
    last = last or max(first, now)
    if first > last:
        return default, str(_("The period ends before it begins. The last 7 days are shown."))
    # Days at the very edge of the calendar have no next midnight.
    if (last - first).days >= MAX_DAYS or not 1970 <= first.year <= last.year < 9999:
        return default, str(_("The period may have at most 366 days. The last 7 days are shown."))
    return Period(first, last), ""
