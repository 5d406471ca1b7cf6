from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ReferralsConfig(AppConfig):
    """Conversions by referral links, and what they earn."""

    name = "referrals"
    verbose_name = _("Referrals")

    def ready(self) -> None:
        """Connect the receivers and contribute the app's endpoint."""
        from referrals import receivers  # noqa: F401
