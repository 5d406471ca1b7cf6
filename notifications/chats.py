"""Which chat a message goes to, and what becomes of a chat."""

from __future__ import annotations

import time

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from notifications.models import ChatMessage, TelegramChat

Kind = TelegramChat.Kind
Status = ChatMessage.Status

# How long somebody who sends a test waits to see what became of it: an idle sender takes half a second.
PATIENCE = 4.0


def common_chat() -> TelegramChat | None:
    """Return where messages without a chat of their own go, or None where nobody has entered such a chat.

    The first active common chat of the admin; a disabled one where all are, so that its reason is seen.
    TELEGRAM_CHAT_ID counts until one is entered, and is entered here, so that a moved chat's new id has a place.
    """
    entered = TelegramChat.objects.filter(kind=Kind.COMMON).order_by("-active", "id").first()
    if entered is not None:
        return entered
    try:
        chat_id = int(settings.TELEGRAM_CHAT_ID)
    except ValueError:
        return None
    return TelegramChat.objects.get_or_create(
        chat_id=chat_id, topic=None, defaults={"kind": Kind.COMMON, "title": "TELEGRAM_CHAT_ID"}
    )[0]


def disable_chat(*, chat: TelegramChat, reason: str) -> None:
    """Switch a chat off because Telegram refuses it, and tell every administrators' chat that is on, once.

    A referrer who blocks the bot is nobody's matter but theirs.
    """
    with transaction.atomic():
        here = TelegramChat.objects.filter(pk=chat.pk)
        if not here.filter(active=True).update(active=False, disabled_reason=reason, disabled_at=Now()):
            here.update(disabled_reason=reason)
            return
        if chat.kind == Kind.REFERRER:
            return
        disabled_at = here.values_list("disabled_at", flat=True).get()
        assert disabled_at is not None  # set above
        for admins in TelegramChat.objects.filter(kind=Kind.ADMIN, active=True).order_by("pk"):
            ChatMessage.objects.create(about=chat, chat=admins, kind=ChatMessage.Kind.DISABLED, occurred_at=disabled_at)


def enable_chat(*, chat: TelegramChat) -> None:
    """Switch a chat on again: it can be written to."""
    TelegramChat.objects.filter(pk=chat.pk).update(active=True, disabled_reason="", disabled_at=None)


def save_chat(*, chat: TelegramChat) -> None:
    """Save what a person entered; one that is switched on forgets why it was off, and any pause."""
    if chat.active:
        chat.disabled_reason, chat.disabled_at, chat.paused_until = "", None, None
    chat.save()


def outcome_of(*, message: ChatMessage, seconds: float = PATIENCE) -> ChatMessage:
    """Wait so long for the sender, in whatever process it is, and return the message as it stands then."""
    end = time.monotonic() + seconds
    while True:
        message.refresh_from_db()
        known = message.notification_status not in (Status.PENDING, Status.SENDING) or message.error
        if known or time.monotonic() > end:
            return message
        time.sleep(0.1)


def test_chat(*, chat: TelegramChat) -> ChatMessage:
    """Write a test message to a chat into the outbox: it goes the way of every message. Return its row."""
    return ChatMessage.objects.create(about=chat, chat=chat, kind=ChatMessage.Kind.TEST)
