from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class WebhooksConfig(AppConfig):
    """Receives, stores and understands what AmoCRM sends."""

    name = "webhooks"
    verbose_name = _("AmoCRM webhooks")

    def ready(self) -> None:
        """Register the check of the receivers."""
        from webhooks import checks  # noqa: F401
