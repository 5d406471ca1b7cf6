"""The loop that sends the outbox. One in the whole system at a time: whoever holds the advisory lock."""

from __future__ import annotations

import sys
import threading
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import structlog
from django.apps import apps
from django.conf import settings
from django.db import IntegrityError, InterfaceError, OperationalError, connection, transaction
from django.db.models import QuerySet, Value
from django.db.models.functions import Now
from django.utils.translation import gettext_noop

from notifications import chats, telegram
from notifications.models import OutboxMessage, TelegramChat
from notifications.pacing import Pacer

log = structlog.get_logger(__name__)

# "onai" in bytes and a number: PostgreSQL's advisory locks share one space of integers in a database.
LOCK = 0x6F6E6169_00000001
# How long another sender waits for the lock: a dead one is replaced within this time.
LOCK_WAIT = 1.0
# How long a message waits at most on an idle system.
IDLE_WAIT = 0.2
# Between attempts whose message certainly did not arrive; after the last one the row is `failed`. Five hours together.
RETRY_DELAYS = [timedelta(seconds=s) for s in (5, 30, 120, 600, 1800, 3600, 3 * 3600)]

NO_TOKEN = gettext_noop("TELEGRAM_BOT_TOKEN is not set: printed to the worker's console")
NO_CHAT = gettext_noop(
    "No chat to send to: enter one in the admin (Telegram chats) or set TELEGRAM_CHAT_ID to its number."
)
CHAT_OFF = gettext_noop("The chat is switched off in the admin (Telegram chats).")
INTERRUPTED = gettext_noop("The sender stopped before it knew the outcome: look into the chat before sending it again.")

PENDING = OutboxMessage.Status.PENDING


def run(stop: threading.Event) -> None:
    """Send messages until `stop` is set. Outlives lost connections; closing its own at the end frees the lock."""
    with ExitStack() as stack:
        bot = stack.enter_context(telegram.Bot(settings.TELEGRAM_BOT_TOKEN)) if settings.TELEGRAM_BOT_TOKEN else None
        sender = Sender(bot, stop=stop)
        while not stop.is_set():
            try:
                _hold_lock_and_send(sender)
            except (OperationalError, InterfaceError) as error:
                log.warning("sender lost the database", error=str(error).strip())
            except Exception:
                log.exception("sender failed, goes on")
            finally:
                # A lost connection is a lost lock: nothing is sent before a new one is taken.
                connection.close()
            stop.wait(LOCK_WAIT)


def outbox_models() -> list[type[OutboxMessage]]:
    """Return every app's outbox, always in the same order."""
    found = [m for m in apps.get_models() if issubclass(m, OutboxMessage)]
    return sorted(found, key=lambda model: model._meta.label)


@dataclass(slots=True)
class Sender:
    """Sends what is due. Whoever calls it holds the lock. Without a bot everything is printed."""

    bot: telegram.Bot | None
    pacer: Pacer = field(default_factory=Pacer)
    stop: threading.Event = field(default_factory=threading.Event)
    # What Telegram answered and the database does not know yet.
    unsaved: tuple[OutboxMessage, TelegramChat, telegram.Outcome] | None = None

    def recover(self) -> int:
        """Settle what a dead sender or a lost connection left in `sending`; return how many are uncertain."""
        if self.unsaved is not None:
            self._save_outcome()
        uncertain = sum(
            model._default_manager.filter(notification_status=model.Status.SENDING).update(
                notification_status=model.Status.UNCERTAIN, error=INTERRUPTED
            )
            for model in outbox_models()
        )
        if uncertain:
            log.warning("messages left by a sender that stopped are uncertain", count=uncertain)
        return uncertain

    def send_pending(self) -> int:
        """Settle everything that is due and whose chat is free now; return how many rows that were."""
        settled = 0
        while turn := sum(self._settle_one(model) for model in outbox_models()):
            settled += turn
        return settled

    def _settle_one(self, model: type[OutboxMessage]) -> bool:
        """Send, print or fail the oldest due row of one outbox whose chat is free. False: there is none."""
        if self.stop.is_set() or self.pacer.closed():
            return False
        due = model._default_manager.filter(notification_status=PENDING, next_attempt_at__lte=Now())
        if not due.exists():
            return False
        common = chats.common_chat() if self.bot else None
        row = self._free(due, common).select_related("chat").order_by("next_attempt_at", "id").first()
        if row is None:
            return False
        try:
            text = row.render()
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:
            log.exception("message can't be rendered", outbox=model._meta.label, id=row.pk)
            return _move(row, PENDING, row.Status.FAILED, error=f"{type(error).__name__}: {error}"[:500])
        if self.bot is None:
            return _print(row, text)
        chat = row.chat or common
        if chat is None:
            return _move(row, PENDING, row.Status.FAILED, error=NO_CHAT)
        if not chat.active:
            return _move(row, PENDING, row.Status.FAILED, error=chat.disabled_reason or CHAT_OFF)
        # The row says `sending` before Telegram is asked: a crash from here on never leads to a second message.
        if _move(row, PENDING, row.Status.SENDING):
            self.pacer.record(chat.chat_id)
            self.unsaved = row, chat, telegram.send(self.bot, chat, text)
            self._save_outcome()
        return True

    def _free(self, due: QuerySet[OutboxMessage], common: TelegramChat | None) -> QuerySet[OutboxMessage]:
        """Leave out rows whose chat is paused by Telegram or by our pacing."""
        resting = TelegramChat.objects.filter(paused_until__gt=Now()) | TelegramChat.objects.filter(
            chat_id__in=self.pacer.busy()
        )
        pks = set(resting.values_list("pk", flat=True))
        if common is not None and common.pk in pks:
            due = due.exclude(chat=None)
        return due.exclude(chat__in=pks)

    def _save_outcome(self) -> None:
        assert self.unsaved is not None
        row, chat, outcome = self.unsaved
        # Another sender may have taken this row for a dead one's: what Telegram said is better known here.
        before = row.Status.SENDING, row.Status.UNCERTAIN
        try:
            with transaction.atomic():
                _move(row, before, **_fields(row, outcome))
                _save_chat(chat, outcome)
        except (OperationalError, InterfaceError):
            raise  # kept, and saved when the database is back
        except Exception:
            self.unsaved = None  # can't be saved: the row becomes uncertain, the others go on
            raise
        self.unsaved = None
        if outcome.scope is telegram.Scope.BOT:
            self.pacer.hold(outcome.after or 0)
            log.error("Telegram refuses TELEGRAM_BOT_TOKEN, sending pauses", seconds=outcome.after)
        else:
            log.info("message", outbox=row._meta.label, id=row.pk, outcome=outcome.status.value, reason=outcome.reason)


def _hold_lock_and_send(sender: Sender) -> None:
    """Wait for the lock, then send until told to stop. The lock is the connection's, and so is every claim."""
    while not _try_lock():
        if sender.stop.wait(LOCK_WAIT):
            return
    log.info("sender is active")
    sender.recover()
    while not sender.stop.is_set():
        if not sender.send_pending():
            sender.stop.wait(IDLE_WAIT)


def _try_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
        return bool(cursor.fetchone()[0])


def _fields(row: OutboxMessage, outcome: telegram.Outcome) -> dict[str, Any]:
    """Return the columns that an outcome sets. A pause of the chat or the bot is no attempt of the message."""
    fields: dict[str, Any] = {"attempts": row.attempts + 1, "error": outcome.reason}
    match outcome.status:
        case telegram.Status.SENT:
            fields |= {"to": row.Status.SENT, "notified_at": Now(), "telegram_message_id": outcome.message_id}
        case telegram.Status.UNCERTAIN:
            fields |= {"to": row.Status.UNCERTAIN}
        case telegram.Status.RETRY if outcome.after is not None:
            fields |= {
                "to": PENDING,
                "attempts": row.attempts,
                "next_attempt_at": _in(timedelta(seconds=outcome.after)),
            }
        case telegram.Status.RETRY if row.attempts < len(RETRY_DELAYS):
            fields |= {"to": PENDING, "next_attempt_at": _in(RETRY_DELAYS[row.attempts])}
        case _:
            fields |= {"to": row.Status.FAILED}
    return fields


def _save_chat(chat: TelegramChat, outcome: telegram.Outcome) -> None:
    """Remember what an outcome says of the chat: its new id, its pause, or why it can't be written to."""
    fields: dict[str, Any] = {}
    if outcome.scope is telegram.Scope.CHAT and outcome.status is telegram.Status.FAILED:
        fields = {"active": False, "disabled_reason": outcome.reason}
    elif outcome.scope is telegram.Scope.CHAT:
        fields = {"paused_until": _in(timedelta(seconds=outcome.after or 0))}
    here = TelegramChat.objects.filter(pk=chat.pk)
    if fields:
        here.update(**fields)
    if outcome.moved_to is not None:
        try:
            with transaction.atomic():
                here.update(chat_id=outcome.moved_to)
        except IntegrityError:
            # The new group is entered as a chat of its own: both rows work, this one with a detour.
            log.warning("a chat became a group that is entered already", chat=chat.pk)


def _move(
    row: OutboxMessage,
    before: OutboxMessage.Status | tuple[OutboxMessage.Status, ...],
    to: OutboxMessage.Status,
    **fields: Any,
) -> bool:
    """Change a row's status and tell whether it was changed: not if somebody else did first, cancelled it for one."""
    allowed = before if isinstance(before, tuple) else (before,)
    rows = type(row)._default_manager.filter(pk=row.pk, notification_status__in=allowed)
    return bool(rows.update(notification_status=to, **fields))


def _print(row: OutboxMessage, text: str) -> bool:
    """Print the message, framed as Django's console e-mail backend does, if the row is still waiting."""
    if _move(row, PENDING, row.Status.CONSOLE, error=NO_TOKEN):
        line = "-" * 79
        sys.stdout.write(f"{line}\nTelegram: {row}\n\n{telegram.plain(text)}\n{line}\n")
        sys.stdout.flush()
    return True


def _in(delay: timedelta) -> Any:
    """Return the database's clock plus a delay: workers' clocks differ."""
    return Now() + Value(delay)
