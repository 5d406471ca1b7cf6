"""A referrer's Telegram chat: linked by a one-time token, switched, forgotten."""

from __future__ import annotations

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet

from notifications.chats import enable_chat
from notifications.models import TelegramChat
from referrals.cabinet.models import AccessEvent, CabinetMessage, LinkedChat, OneTimeToken
from referrals.cabinet.tokens import token_issue, token_redeem
from referrals.models import Referrer


def deep_link(referrer: Referrer) -> str:
    """Return an address that opens the bot and links whoever presses Start there. Works once, for a short time."""
    token = token_issue(referrer=referrer, purpose=OneTimeToken.Purpose.LINK_CHAT)
    return f"https://t.me/{settings.TELEGRAM_BOT_USERNAME}?start={token}"


def chat_link(*, chat: TelegramChat, token: str) -> LinkedChat | None:
    """Link a chat to the owner of a token; None for a token that is worth nothing.

    A referrer has one chat and a chat one referrer: the newer link replaces the older.
    """
    with transaction.atomic():
        referrer = token_redeem(token=token, purpose=OneTimeToken.Purpose.LINK_CHAT)
        if referrer is None:
            return None
        LinkedChat.objects.filter(chat=chat).exclude(referrer=referrer).delete()
        _cancel(CabinetMessage.objects.filter(Q(chat=chat) ^ Q(referrer=referrer)))
        linked, _ = LinkedChat.objects.update_or_create(referrer=referrer, defaults={"chat": chat})
        AccessEvent.objects.create(referrer=referrer, kind=AccessEvent.Kind.CHAT_LINKED)
        return linked


def chat_unlink(*, referrer: Referrer) -> None:
    """Forget the referrer's chat: nothing is sent there any more, no sign-in link either."""
    with transaction.atomic():
        if LinkedChat.objects.filter(referrer=referrer).delete()[0]:
            _cancel(CabinetMessage.objects.filter(referrer=referrer))
            AccessEvent.objects.create(referrer=referrer, kind=AccessEvent.Kind.CHAT_UNLINKED)


def messages_choose(*, referrer: Referrer, accruals: bool, reversals: bool, payouts: bool) -> None:
    """Save which messages the linked chat gets."""
    LinkedChat.objects.filter(referrer=referrer).update(accruals=accruals, reversals=reversals, payouts=payouts)


def private_chat(*, chat_id: int, title: str) -> TelegramChat:
    """Return the row of a person's chat with the bot. One that Telegram refused writes again, so it is on again.

    One that a manager switched off by hand stays off: it has no reason of Telegram's.
    """
    chat, _ = TelegramChat.objects.get_or_create(
        chat_id=chat_id, topic=None, defaults={"kind": TelegramChat.Kind.REFERRER, "title": title[:200]}
    )
    if not chat.active and chat.disabled_reason and chat.kind == TelegramChat.Kind.REFERRER:
        enable_chat(chat=chat)
        chat.refresh_from_db()
    return chat


def _cancel(messages: QuerySet[CabinetMessage]) -> None:
    """Cancel what is still to be sent to a chat that is no longer the referrer's; what was asked by nobody stays."""
    messages.filter(referrer__isnull=False, notification_status=CabinetMessage.Status.PENDING).update(
        notification_status=CabinetMessage.Status.CANCELLED
    )
