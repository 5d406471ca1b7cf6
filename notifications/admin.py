"""Where messages go, whether they can, and the messages about that."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.admin import TabularInline
from unfold.decorators import action, display

from notifications import chats
from notifications.models import AlarmMessage, ChatMessage, OutboxMessage, TelegramChat
from notifications.resending import ResendMixin
from onai_project.admin_base import (
    EMPTY,
    PanelAdmin,
    ReadOnlyAdmin,
    choice_label,
    label,
    list_link,
    moment,
    reason_text,
)

MESSAGE_COLOURS = {
    "pending": "info",
    "sending": "info",
    "sent": "success",
    "console": "warning",
    "uncertain": "warning",
    "failed": "danger",
    "cancelled": "",
}
Status = OutboxMessage.Status


class ChatMessageInline(TabularInline):
    """The last tests of a chat."""

    model = ChatMessage
    fk_name = "about"
    extra = 0
    max_num = 0
    can_delete = False
    fields = readonly_fields = ("kind", "status_label", "at", "why")
    ordering = ("-id",)
    hide_title = True
    verbose_name_plural = _("Tests, and what administrators were told")
    status_label = choice_label("notification_status", MESSAGE_COLOURS, _("status"))

    @display(description=_("at"))
    def at(self, message: ChatMessage) -> str:
        return moment(message.notified_at or message.created_at)

    @display(description=_("error"))
    def why(self, message: ChatMessage) -> str:
        return reason_text(message.error)

    def get_queryset(self, request: HttpRequest) -> QuerySet[ChatMessage]:
        """Return the newest; the formset filters further, so they are chosen by number."""
        rows: QuerySet[ChatMessage] = super().get_queryset(request)
        newest = ChatMessage.objects.order_by("-pk").values("pk")[:100]
        return rows.filter(pk__in=newest)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("notifications.view_telegramchat")


@admin.register(TelegramChat)
class TelegramChatAdmin(PanelAdmin):
    list_display = ("__str__", "kind_shown", "state", "why", "number", "topic")
    list_filter = ("kind", "active")
    search_fields = ("title", "=chat_id")
    search_help_text = _("Title or chat id")
    ordering = ("active", "kind", "title", "id")
    fieldsets = (
        (None, {"fields": ("title", "kind", ("chat_id", "topic"), "active")}),
        (_("State"), {"fields": (("state", "disabled_shown"), "why", "history")}),
    )
    readonly_fields = ("state", "disabled_shown", "why", "history")
    actions_detail = ("send_test",)
    actions_row = ("send_test",)
    inlines = (ChatMessageInline,)

    @display(description=_("kind"), ordering="kind")
    def kind_shown(self, chat: TelegramChat) -> str:
        return chat.get_kind_display()

    @display(description=_("chat id"), ordering="chat_id")
    def number(self, chat: TelegramChat) -> str:
        return str(chat.chat_id)

    @display(description=_("state"), ordering="active")
    def state(self, chat: TelegramChat) -> str:
        if chat.disabled_reason:
            return label(gettext("Refused by Telegram"), "danger")
        if not chat.active:
            return label(gettext("Switched off by hand"), "")
        if chat.paused_until and chat.paused_until > timezone.now():
            text = gettext("Paused by Telegram until %(time)s") % {"time": moment(chat.paused_until)[-8:]}
            return label(text, "warning")
        return label(gettext("On"), "success")

    @display(description=_("why"))
    def why(self, chat: TelegramChat) -> str:
        if not chat.disabled_reason:
            return EMPTY
        return format_html('<span class="panel-wrong">{}</span>', reason_text(chat.disabled_reason))

    @display(description=_("since"))
    def disabled_shown(self, chat: TelegramChat) -> str:
        return moment(chat.disabled_at)

    @display(description=_("history"))
    def history(self, chat: TelegramChat) -> str:
        return list_link("traffic_salesnotification", f"chat__id__exact={chat.pk}", _("sale notifications"))

    def save_model(self, request: HttpRequest, obj: TelegramChat, form: Any, change: bool) -> None:
        """Save; a chat that is switched on forgets why it was off."""
        chats.save_chat(chat=obj)

    def has_send_test_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return request.user.has_perm("notifications.change_telegramchat")

    @action(
        description=_("Send a test"),
        permissions=["send_test"],
        icon="send",
        dialog={
            "title": _("Send a test message to this chat?"),
            "description": _("If it arrives, a chat that Telegram refused is switched on again."),
            "form_class": None,
            "form_submit_text": _("Send a test"),
        },
    )
    def send_test(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        test = chats.test_chat(chat=TelegramChat.objects.get(pk=object_id))
        level, text = _outcome(chats.outcome_of(message=test))
        self.message_user(request, text, level)
        return HttpResponse(headers={"HX-Refresh": "true"})


def _outcome(test: ChatMessage) -> tuple[int, str]:
    """Return how to tell what became of a test so far."""
    match test.notification_status:
        case Status.SENT:
            return messages.SUCCESS, gettext("The test arrived.")
        case Status.CONSOLE:
            return messages.WARNING, reason_text(test.error)
        case Status.PENDING | Status.SENDING if not test.error:
            return messages.WARNING, gettext("The test waits: is a worker running? What became of it stands below.")
        case _:
            return messages.ERROR, gettext("The test did not arrive: %(why)s") % {"why": reason_text(test.error)}


@admin.register(AlarmMessage)
class AlarmMessageAdmin(ResendMixin, ReadOnlyAdmin):
    list_display = ("title", "kind", "chat", "status_label", "created_at", "why")
    list_filter = ("notification_status", "kind")
    ordering = ("-id",)
    fields = ("title", "kind", "chat", "status_label", "created_at", "notified_at", "why", "text")
    readonly_fields = ("title", "status_label", "why", "text")
    list_select_related = ("alarm", "chat")
    status_label = choice_label("notification_status", MESSAGE_COLOURS, _("status"))

    @display(description=_("alarm"))
    def title(self, message: AlarmMessage) -> str:
        return str(message.alarm)

    @display(description=_("error"))
    def why(self, message: AlarmMessage) -> str:
        return reason_text(message.error)

    @display(description=_("what is wrong"))
    def text(self, message: AlarmMessage) -> str:
        return message.alarm.text
