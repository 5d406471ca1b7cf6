"""What the API told and how it is: pages for people."""

from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from onai_project.admin_base import ReadOnlyAdmin, choice_label, reason_text
from webhooks.models import ApiState


@admin.register(ApiState)
class ApiStateAdmin(ReadOnlyAdmin):
    list_display = ("trouble_label", "detail", "failures", "failed_since", "paused_until", "hook_checked_at", "hook")
    trouble_label = choice_label("trouble", {"": "success"}, _("trouble"))

    @display(description=_("what is wrong with the hook"))
    def hook(self, state: ApiState) -> str:
        return reason_text(state.hook_problem)
