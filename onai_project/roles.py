"""The roles of the people who use the site: groups with permissions, made after every migrate.

A person needs "staff status" to enter the admin at all, and one of these groups to see anything in it. A targetologist
also needs to be the `user` of a Targetologist: that is whose sales they see.
"""

from __future__ import annotations

from typing import Any

from django.apps import apps as installed_apps
from django.apps.registry import Apps
from django.contrib.auth.management import create_permissions

HEAD_OF_TRAFFIC = "Руководитель трафика"
TARGETOLOGIST = "Таргетолог"
REFERRAL_MANAGER = "Менеджер рефералов"
ADMINISTRATOR = "Администратор"

APPS = ("webhooks", "notifications", "traffic", "referrals", "cabinet", "payouts")

# Codenames by app; "*" means all of the app's.
ROLES: dict[str, dict[str, tuple[str, ...]]] = {
    HEAD_OF_TRAFFIC: {
        "traffic": ("*",),
        "notifications": ("view_telegramchat",),
    },
    TARGETOLOGIST: {
        "traffic": ("view_sale", "view_salesnotification", "view_adspend"),
    },
    REFERRAL_MANAGER: {
        "referrals": ("*",),
        "webhooks": ("view_contact",),
        "cabinet": ("*",),
        "payouts": ("*",),
    },
    ADMINISTRATOR: {
        **dict.fromkeys(APPS, ("*",)),
        "auth": (
            *(f"{action}_user" for action in ("add", "change", "delete", "view")),
            *(f"{action}_group" for action in ("add", "change", "delete", "view")),
        ),
    },
}


def create_roles() -> None:
    """Make the groups and give them their permissions; what people added to a group by hand stays. Idempotent."""
    from django.contrib.auth.models import Group, Permission

    for label in (*APPS, "auth"):
        create_permissions(installed_apps.get_app_config(label), verbosity=0)
    for name, wanted in ROLES.items():
        group, _ = Group.objects.get_or_create(name=name)
        for label, codenames in wanted.items():
            permissions = Permission.objects.filter(content_type__app_label=label)
            if "*" not in codenames:
                permissions = permissions.filter(codename__in=codenames)
            group.permissions.add(*permissions)


def create_roles_after_migrate(apps: Apps = installed_apps, **kwargs: Any) -> None:
    """Run `create_roles` at the end of migrate, unless it stopped before all the tables exist."""
    models = [("auth", "Group"), ("webhooks", "WebhookDelivery"), ("traffic", "Sale"), ("referrals", "Earning")]
    try:
        for label, model in models:
            apps.get_model(label, model)
    except LookupError:
        return
    create_roles()
