"""How reasons and accounts look on the pages of payouts."""

from __future__ import annotations

from django import template

from onai_project.stored_reasons import reason_text
from referrals.payouts.accounts import masked_account

register = template.Library()
register.filter("reason", reason_text)
register.filter("masked_account", masked_account)
