"""Users and roles, with unfold's forms and permissions named in the language of the page."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth import admin as auth_admin
from django.contrib.auth.models import Group, Permission, User
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from procrastinate.contrib.django import admin as procrastinate_admin  # noqa: F401
from procrastinate.contrib.django.models import ProcrastinateJob
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from onai_project.admin_base import PanelAdmin
from onai_project.roles import APPS

# Registered by their own apps (the imports above) without unfold. Jobs are the operator's, not the office's.
admin.site.unregister([User, Group, ProcrastinateJob])

ACTIONS = {"add": _("add"), "change": _("change"), "delete": _("delete"), "view": _("view")}


def permission_name(permission: Permission) -> str:
    """Return "App · what · may do" in the language of the page; Django stores its names in English."""
    model = permission.content_type.model_class()
    if model is None:
        return permission.name
    what = str(model._meta.verbose_name_plural)
    action = ACTIONS.get(permission.codename.removesuffix(f"_{model._meta.model_name}"))
    return f"{model._meta.app_config.verbose_name} · {what} · {action or gettext(permission.name)}"


class PermissionsAdmin(PanelAdmin):
    """Offers the permissions of our own apps, by name."""

    def formfield_for_manytomany(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        if db_field.related_model is not Permission:
            return super().formfield_for_manytomany(db_field, request, **kwargs)
        ours = Permission.objects.filter(content_type__app_label__in=[*APPS, "auth"])
        kwargs["queryset"] = ours.select_related("content_type")
        field = super().formfield_for_manytomany(db_field, request, **kwargs)
        field.label_from_instance = permission_name
        return field

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Name only what was chosen: the rows that connect it with roles and permissions have no name in Russian."""
        *_, perms_needed, protected = super().get_deleted_objects(objs, request)
        counts = {self.opts.verbose_name_plural: len(objs)}
        return [str(one) for one in objs], counts, perms_needed, protected


@admin.register(User)
class UserAdmin(PermissionsAdmin, auth_admin.UserAdmin):  # type: ignore[type-arg]
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("username", "first_name", "last_name", "is_staff", "roles", "is_active", "last_login")
    list_filter = ("is_staff", "is_active", "groups")

    @admin.display(description=_("roles"))
    def roles(self, user: User) -> str:
        return ", ".join(group.name for group in user.groups.all())

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("groups")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Only a superuser makes superusers."""
        return () if request.user.is_superuser else ("is_superuser", "last_login", "date_joined")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only a superuser changes a superuser, their password included."""
        return super().has_change_permission(request, obj) and self._may_touch(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and self._may_touch(request, obj)

    def _may_touch(self, request: HttpRequest, user: Any) -> bool:
        return bool(request.user.is_superuser or user is None or not user.is_superuser)


@admin.register(Group)
class GroupAdmin(PermissionsAdmin, auth_admin.GroupAdmin):  # type: ignore[misc]
    pass
