"""Where messages go."""

from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from notifications.models import AlarmMessage, TelegramChat
from onai_project.admin_base import PanelAdmin, ReadOnlyAdmin, reason_text


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


@admin.register(AlarmMessage)
class AlarmMessageAdmin(ReadOnlyAdmin):
    list_display = ("title", "kind", "chat", "notification_status", "created_at", "why")
    list_filter = ("notification_status", "kind")
    ordering = ("-id",)
    fields = ("title", "kind", "chat", "notification_status", "created_at", "notified_at", "why", "text")
    readonly_fields = ("title", "why", "text")
    list_select_related = ("alarm", "chat")

    @display(description=_("alarm"))
    def title(self, message: AlarmMessage) -> str:
        return str(message.alarm)

    @display(description=_("error"))
    def why(self, message: AlarmMessage) -> str:
        return reason_text(message.error)

    @display(description=_("what is wrong"))
    def text(self, message: AlarmMessage) -> str:
        return message.alarm.text
