from __future__ import annotations

from django.apps import AppConfig, apps
from django.db.models.signals import post_migrate
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _


class OnaiProjectConfig(AppConfig):
    """The project itself, an app for its templates, commands and roles."""

    name = "onai_project"
    verbose_name = _("onAI Academy")

    def ready(self) -> None:
        """Make the roles when migrate comes to the last of our apps; find every app's checks."""
        from onai_project.roles import create_roles_after_migrate

        autodiscover_modules("alarms")
        post_migrate.connect(create_roles_after_migrate, sender=apps.get_app_config("referrals"))
