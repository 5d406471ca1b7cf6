"""What the bot answers. Updates come by webhook, or by one poller in the whole system, never by both."""

from __future__ import annotations

import hmac
import json
import threading
from datetime import timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, transaction
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from notifications import telegram
from notifications.leadership import try_lead
from referrals.cabinet import chats
from referrals.cabinet.models import CabinetMessage, LinkedChat

log = structlog.get_logger(__name__)

# See notifications.sender.LOCK: one poller, or one process that keeps the webhook set.
LOCK = 0x6F6E6169_00000003
LOCK_WAIT = 1.0
# How long Telegram holds a question for news; also how long the end of the process may wait for it.
POLL_SECONDS = 2
# After an error: Telegram is away, or refuses the token.
ERROR_WAIT = 5.0
# How often the webhook is set again, should somebody have taken it away.
WEBHOOK_AGAIN = 600.0
# A chat that sends faster than it is answered gets no more answers than these at a time.
MOST_WAITING = 5
MAX_BYTES = 64 * 1024

Kind = CabinetMessage.Kind
COMMANDS = {"/balance": Kind.BALANCE, "/link": Kind.LINKS, "/stop": Kind.STOP, "/start": Kind.START}


def handle_update(update: dict[str, Any]) -> None:
    """Do what one update asks for and put the answer into the outbox. The same update twice does nothing new.

    Only what a person writes in a chat with the bot alone: in groups it stays silent.
    """
    message = update.get("message")
    if not isinstance(message, dict) or message.get("chat", {}).get("type") != "private":
        return
    update_id, chat_id = int(update["update_id"]), int(message["chat"]["id"])
    words = str(message.get("text") or "").split()
    with transaction.atomic():
        if CabinetMessage.objects.filter(update_id=update_id).exists():
            return
        chat = chats.private_chat(chat_id=chat_id, title=str(message["chat"].get("first_name") or ""))
        kind = COMMANDS.get(words[0].split("@")[0].lower(), Kind.HINT) if words else Kind.HINT
        if kind == Kind.START and len(words) > 1 and chats.chat_link(chat=chat, token=words[1]) is not None:
            kind = Kind.LINKED
        linked = LinkedChat.objects.filter(chat=chat).select_related("referrer").first()
        referrer = linked.referrer if linked else None
        if referrer is not None and kind in (Kind.START, Kind.STOP):
            on = kind == Kind.START
            chats.messages_choose(referrer=referrer, accruals=on, reversals=on, payouts=on)
        if CabinetMessage.objects.filter(chat=chat, notification_status="pending").count() < MOST_WAITING:
            CabinetMessage.objects.bulk_create(
                [CabinetMessage(chat=chat, referrer=referrer, kind=kind, update_id=update_id)], ignore_conflicts=True
            )


@csrf_exempt
@require_POST
def webhook(request: HttpRequest) -> HttpResponse:
    """Take an update from Telegram, which knows the secret that we gave it."""
    secret = settings.TELEGRAM_WEBHOOK_SECRET
    given = request.headers.get("X-Telegram-Bot-Api-Secret-Token", "")
    if not secret or not hmac.compare_digest(given.encode(), secret.encode()):
        return HttpResponse(status=404)
    if len(request.body) > MAX_BYTES:
        return HttpResponse(status=413)
    try:
        handle_update(json.loads(request.body))
    except (OperationalError, InterfaceError):
        raise  # 500: Telegram brings it again
    except Exception:
        # One update that nobody understands must not come back for ever and hold up the others.
        log.exception("update can't be handled")
    return HttpResponse()


def run(stop: threading.Event) -> None:
    """Keep the webhook set, or poll, until `stop` is set; without a token, or without the lock, only wait."""
    if not settings.TELEGRAM_BOT_TOKEN:
        stop.wait()
        return
    with telegram.Bot(settings.TELEGRAM_BOT_TOKEN) as bot:
        while not stop.is_set():
            try:
                while not try_lead(LOCK):
                    if stop.wait(LOCK_WAIT):
                        return
                if settings.TELEGRAM_WEBHOOK_SECRET:
                    _keep_webhook(bot, stop)
                else:
                    _poll(bot, stop)
            except (OperationalError, InterfaceError) as error:
                log.warning("bot lost the database", error=str(error).strip())
            except Exception as error:
                # What Telegram's library says may hold the token: only what `reason` leaves of it is logged.
                log.warning("bot can't reach Telegram", error=bot.reason(error))
            finally:
                # A lost connection is a lost lock.
                connection.close()
            stop.wait(ERROR_WAIT)


def _poll(bot: telegram.Bot, stop: threading.Event) -> None:
    bot.call(lambda api: api.delete_webhook())
    log.info("bot polls")
    offset = 0
    while not stop.is_set():
        # Proves that the lock's connection lives: without it another one polls already.
        if not _hold_lock():
            return
        updates = bot.call(
            lambda api, offset=offset: api.get_updates(  # type: ignore[misc]
                offset=offset, timeout=timedelta(seconds=POLL_SECONDS), allowed_updates=["message"]
            )
        )
        for update in updates:
            try:
                handle_update(update.to_dict())
            except (OperationalError, InterfaceError):
                raise
            except Exception:
                log.exception("update can't be handled")
            offset = update.update_id + 1
        if not updates:
            stop.wait(0.1)


def _keep_webhook(bot: telegram.Bot, stop: threading.Event) -> None:
    address = settings.SITE_URL + reverse("cabinet:bot")
    while not stop.is_set():
        bot.call(
            lambda api: api.set_webhook(
                address, secret_token=settings.TELEGRAM_WEBHOOK_SECRET, allowed_updates=["message"]
            )
        )
        log.info("bot's webhook is set", address=address)
        end = WEBHOOK_AGAIN
        while end > 0 and not stop.wait(LOCK_WAIT):
            if not _hold_lock():
                return
            end -= LOCK_WAIT


def _hold_lock() -> bool:
    """Tell whether this connection still holds the lock; raises OperationalError where the connection is lost."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted)"
        )
        return bool(cursor.fetchone()[0])
