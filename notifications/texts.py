"""The texts of alarms and of messages about chats, as Telegram HTML in the installation's language."""

from __future__ import annotations

from django.conf import settings
from django.urls import reverse
from django.utils import translation
from django.utils.translation import gettext as _

from notifications.format import link, quoted
from notifications.models import AlarmMessage, ChatMessage
from onai_project.stored_reasons import reason_text


def alarm_message(message: AlarmMessage) -> str:
    """Return what started, with what to do, or what ended, and where to look."""
    with translation.override(settings.LANGUAGE_CODE):
        name, text = quoted(str(message.alarm)), quoted(message.alarm.text)
        if message.kind == AlarmMessage.Kind.ENDED:
            well_again = quoted(_("Well again"))
            return f"✅ <b>{well_again}: {name}</b>"
        page = link(settings.SITE_URL + reverse("system-state"), _("System state"))
        return f"🚨 <b>{name}</b>\n\n{text}\n\n{page}"


def chat_message(message: ChatMessage) -> str:
    """Return the test, or which chat Telegram refuses, why, and what to do."""
    about = message.about
    with translation.override(settings.LANGUAGE_CODE):
        if message.kind == ChatMessage.Kind.TEST:
            return "✅ " + quoted(_("A test: messages arrive in this chat."))
        if about.active:
            return ""
        title = quoted(_("A chat cannot be written to any more"))
        page = link(
            settings.SITE_URL + reverse("admin:notifications_telegramchat_change", args=[about.pk]),
            _("The chat in the admin"),
        )
        return "\n".join(
            [
                f"🔴 <b>{title}: {quoted(str(about))}</b>",
                "",
                quoted(reason_text(about.disabled_reason)),
                quoted(_("Its messages fail until then: add the bot again, then press “Send a test” there.")),
                "",
                page,
            ]
        )
