"""Moments as people write them, in business time."""

from __future__ import annotations

from datetime import datetime

from django.utils.dateparse import parse_date, parse_datetime
from django.utils.timezone import get_default_timezone


def read_moment(text: str) -> datetime:
    """Return an aware datetime; a day is its beginning. Raises ValueError for what is no date."""
    try:
        moment = parse_datetime(text)
        if moment is None and (day := parse_date(text)):
            moment = datetime(day.year, day.month, day.day)
    except ValueError:
        moment = None
    if moment is None:
        raise ValueError(f"{text!r} is no date; write 2025-12-20 or 2025-12-20T13:22")
    return moment if moment.tzinfo else moment.replace(tzinfo=get_default_timezone())
