from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class PayoutsConfig(AppConfig):
    """Batches of payouts to referrers, and the daily check of the ledger."""

    name = "referrals.payouts"
    label = "payouts"
    verbose_name = _("Payouts to referrers")
