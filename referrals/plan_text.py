"""Commission plans in words and numbers, for managers and referrers."""

from __future__ import annotations

from decimal import Decimal

from django.utils.translation import gettext as _

from onai_project.money import money
from referrals.commissions import Plan

# The sales of a month that each of commissions.TIERS covers.
TIER_NAMES = ("1–2", "3–4", "5–7", "8+")
# No line breaks at it, in the middle of a sentence on a phone.
NARROW_SPACE = "\u202f"


def rate_text(plan: Plan, rate: Decimal) -> str:
    """Return one rate of a plan: "10 %" or "3 000 ₸"."""
    return f"{plain_number(rate)}{NARROW_SPACE}%" if plan.is_percent else money(rate)


def terms_text(plan: Plan) -> str:
    """Return what a sale earns, in a line: the rate or the tiers, the cap, whose sales."""
    if plan.value is not None:
        parts = [rate_text(plan, plan.value)]
    else:
        parts = [f"{name}: {rate_text(plan, rate)}" for name, rate in zip(TIER_NAMES, plan.rates, strict=True)]
    if plan.cap is not None:
        parts.append(_("at most %(sum)s") % {"sum": money(plan.cap)})
    if plan.first_sale_only:
        parts.append(_("a customer's first sale only"))
    return " · ".join(parts)


def plain_number(value: Decimal) -> str:
    """Return 12.50 as "12,5" and 10.00 as "10"."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".").replace(".", ",") if "." in text else text
