"""How days and sums look in the cabinet."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

from django import template
from django.utils.formats import date_format

from onai_project.money import money
from referrals.cabinet import wording

register = template.Library()
register.filter("tenge", money)
register.filter("why", wording.entry_reason)


@register.filter
def day(moment: datetime) -> str:
    """Show a business day: 21 December 2025."""
    return wording.day(moment)


@register.filter
def signed(amount: Decimal) -> str:
    """Show a sum with its sign."""
    return ("+" if amount > 0 else "") + money(amount)


@register.filter
def month(first: date) -> str:
    """Show a month with its year."""
    return date_format(first, "F Y")


@register.filter
def short_month(first: date) -> str:
    """Show a month in three letters or so."""
    return date_format(first, "M").rstrip(".").lower()[:3]
