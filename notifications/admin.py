"""Where messages go."""

from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from notifications.models import TelegramChat
from onai_project.admin_base import PanelAdmin, reason_text


@admin.register(TelegramChat)
class TelegramChatAdmin(PanelAdmin):
    list_display = ("__str__", "chat_id", "topic", "kind", "active", "why_disabled", "paused_until")
    list_filter = ("kind", "active")
    search_fields = ("title",)
    search_help_text = _("Title")
    fields = ("title", ("chat_id", "topic"), "kind", "active", "why_disabled", "paused_until")
    readonly_fields = ("why_disabled", "paused_until")

    @display(description=_("why disabled"))
    def why_disabled(self, chat: TelegramChat) -> str:
        return reason_text(chat.disabled_reason)
