from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class TrafficConfig(AppConfig):
    """Attributes sales to targetologists."""

    name = "traffic"
    verbose_name = _("Traffic")

    def ready(self) -> None:
        """Connect the receivers and contribute the app's endpoint."""
        from traffic import receivers  # noqa: F401
