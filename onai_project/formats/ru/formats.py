"""Short dates in the admin's lists, where Django's Russian would write the month as a word."""

from __future__ import annotations

DATE_FORMAT = "d.m.Y"
DATETIME_FORMAT = "d.m.Y H:i"
