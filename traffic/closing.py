"""Closed months: what was paid for and reported is not moved by a changed rule."""

from __future__ import annotations

from datetime import date, timedelta

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured


def first_open_day() -> date | None:
    """Return the first day that is not in a closed month (TRAFFIC_CLOSED_UNTIL, "2025-11"); None: none is closed.

    Raises ImproperlyConfigured for a setting that names no month.
    """
    closed = settings.TRAFFIC_CLOSED_UNTIL
    if not closed:
        return None
    try:
        year, month = map(int, closed.split("-"))
        late_in_it = date(year, month, 28)
    except ValueError:
        raise ImproperlyConfigured(
            f"TRAFFIC_CLOSED_UNTIL is {closed!r}; it should be a month such as 2025-11"
        ) from None
    return (late_in_it + timedelta(days=4)).replace(day=1)
