"""How states and accounts look on the pages of payouts."""

from __future__ import annotations

from collections.abc import Mapping

from django import template

from referrals.payouts.accounts import masked_account

register = template.Library()
register.filter("masked_account", masked_account)


@register.filter
def of(values: Mapping[str, str], key: str) -> str:
    """Return what a mapping has for a key, "" where it has nothing."""
    return values.get(key, "")
