"""The texts of alarms, as Telegram HTML in the installation's language."""

from __future__ import annotations

from django.conf import settings
from django.urls import reverse
from django.utils import translation
from django.utils.translation import gettext as _

from notifications.format import quoted
from notifications.models import AlarmMessage


def alarm_message(message: AlarmMessage) -> str:
    """Return what started, with what to do, or what ended, and where to look."""
    with translation.override(settings.LANGUAGE_CODE):
        name, text = quoted(str(message.alarm)), quoted(message.alarm.text)
        if message.kind == AlarmMessage.Kind.ENDED:
            well_again = quoted(_("Well again"))
            return f"✅ <b>{well_again}: {name}</b>"
        address, page = quoted(settings.SITE_URL + reverse("system-state")), quoted(_("System state"))
        return f'🚨 <b>{name}</b>\n\n{text}\n\n<a href="{address}">{page}</a>'
