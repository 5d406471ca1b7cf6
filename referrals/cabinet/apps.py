from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class CabinetConfig(AppConfig):
    """The referrer's own pages at /r/, and what the bot tells them."""

    name = "referrals.cabinet"
    label = "cabinet"
    verbose_name = _("Referrers' cabinet")

    def ready(self) -> None:
        """Connect the receiver. After the ledger's own: it tells what that one has posted."""
        from referrals.cabinet import receivers  # noqa: F401
