"""Which chat a message goes to."""

from __future__ import annotations

from django.conf import settings

from notifications.models import TelegramChat


def common_chat() -> TelegramChat | None:
    """Return where messages without a chat of their own go, or None where nobody has entered such a chat.

    The first active common chat of the admin; a disabled one where all are, so that its reason is seen.
    TELEGRAM_CHAT_ID counts until one is entered, and is entered here, so that a moved chat's new id has a place.
    """
    entered = TelegramChat.objects.filter(kind=TelegramChat.Kind.COMMON).order_by("-active", "id").first()
    if entered is not None:
        return entered
    try:
        chat_id = int(settings.TELEGRAM_CHAT_ID)
    except ValueError:
        return None
    return TelegramChat.objects.get_or_create(
        chat_id=chat_id, topic=None, defaults={"kind": TelegramChat.Kind.COMMON, "title": "TELEGRAM_CHAT_ID"}
    )[0]
