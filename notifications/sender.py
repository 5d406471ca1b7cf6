"""The loop that sends the outbox. One in the whole system at a time: whoever holds the advisory lock."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta

import structlog
from django.conf import settings
from django.db import IntegrityError, InterfaceError, OperationalError, connection, transaction
from django.db.models import DurationField, ExpressionWrapper, F, Q
from django.db.models.functions import Now
from django.utils.translation import gettext_noop

from notifications import chats, telegram
from notifications.format import fitting
from notifications.leadership import try_lead
from notifications.models import OutboxMessage, TelegramChat
from notifications.outbox import due_of_chat, in_, move, move_all, oldest_due, outbox_models, save_outcome
from notifications.pacing import WINDOW, Pacer

log = structlog.get_logger(__name__)

# "onai" in bytes and a number: PostgreSQL's advisory locks share one space of integers in a database.
LOCK = 0x6F6E6169_00000001
# How long another sender waits for the lock: a dead one is replaced within this time.
LOCK_WAIT = 1.0
# How long a message waits at most on an idle system.
IDLE_WAIT = 0.2
# More than so many that wait for one chat become one message; so many at most, for each costs a query.
COMBINE_OVER = 5
MOST_COMBINED = 30

NO_TOKEN = gettext_noop("TELEGRAM_BOT_TOKEN is not set: printed to the worker's console")
NO_CHAT = gettext_noop(
    "No chat to send to: enter one in the admin (Telegram chats) or set TELEGRAM_CHAT_ID to its number."
)
CHAT_OFF = gettext_noop("The chat is switched off in the admin (Telegram chats).")
INTERRUPTED = gettext_noop("The sender stopped before it knew the outcome: look into the chat before sending it again.")

Status = OutboxMessage.Status


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


@dataclass(slots=True)
class Sender:
    """Sends what is due. Whoever calls it holds the lock. Without a bot everything is printed."""

    bot: telegram.Bot | None
    pacer: Pacer = field(default_factory=Pacer)
    stop: threading.Event = field(default_factory=threading.Event)
    # What Telegram answered and the database does not know yet.
    unsaved: tuple[list[OutboxMessage], TelegramChat, telegram.Outcome] | None = None
    # Rows that Telegram refused as parts of a combined message: they go alone, so that only the bad one fails.
    alone: set[tuple[str, int]] = field(default_factory=set)

    def recover(self) -> int:
        """Settle what a dead sender or a lost connection left in `sending`; return how many are uncertain."""
        if self.unsaved is not None:
            self._save_outcome()
        uncertain = sum(
            model._default_manager.filter(notification_status=Status.SENDING).update(
                notification_status=Status.UNCERTAIN, error=INTERRUPTED
            )
            for model in outbox_models()
        )
        if uncertain:
            log.warning("messages left by a sender that stopped are uncertain", count=uncertain)
        return uncertain

    def learn_pace(self) -> None:
        """Take over from the sender before: what it sent in the last minute counts for the limits, too."""
        sent = set()
        for model in outbox_models():
            rows = model._default_manager.filter(notified_at__gt=in_(-WINDOW), telegram_chat_id__isnull=False)
            ago = ExpressionWrapper(Now() - F("notified_at"), output_field=DurationField())
            sent |= set(rows.values_list(ago, "telegram_chat_id", "telegram_message_id"))
        for ago, chat_id, _ in sorted(sent, reverse=True):
            self.pacer.record(chat_id, ago=ago)

    def send_pending(self) -> int:
        """Settle everything that is due and whose chat is free now; return how many messages that were."""
        settled = 0
        while turn := sum(self._settle_next(model) for model in outbox_models()):
            settled += turn
        return settled

    def _settle_next(self, model: type[OutboxMessage]) -> bool:
        """Send, print or fail the oldest due row of one outbox whose chat is free. False: there is none."""
        if self.stop.is_set() or self.pacer.closed():
            return False
        if not model._default_manager.filter(notification_status=Status.PENDING).exists():
            return False
        common = chats.common_chat() if self.bot else None
        resting = self._resting()
        row = oldest_due(model, resting=resting, is_common_resting=common is not None and common.pk in resting)
        if row is None:
            return False
        chat = row.chat or common
        if self.bot is None:
            return self._print(row)
        if chat is None:
            return move(row, [Status.PENDING], Status.FAILED, error=NO_CHAT)
        if not chat.active and not model.to_chats_that_are_off:
            return move(row, [Status.PENDING], Status.FAILED, error=chat.disabled_reason or CHAT_OFF)
        self._send(self._waiting_with(row, common), chat)
        return True

    def _resting(self) -> set[int]:
        """Return the chats that Telegram or our pacing lets rest."""
        paused = TelegramChat.objects.filter(Q(paused_until__gt=Now()) | Q(chat_id__in=self.pacer.busy()))
        return set(paused.values_list("pk", flat=True))

    def _waiting_with(self, row: OutboxMessage, common: TelegramChat | None) -> list[OutboxMessage]:
        """Return the rows to tell in one message: this one, or all that wait for its chat where they are many."""
        if self._is_alone(row):
            return [row]
        of = {row.chat_id}
        if common is not None and row.chat in (None, common):
            of = {None, common.pk}
        due = [other for chat in of for other in due_of_chat(type(row), chat, MOST_COMBINED)]
        due.sort(key=lambda other: (other.next_attempt_at, other.pk))
        waiting = [other for other in due[:MOST_COMBINED] if not self._is_alone(other)]
        return waiting if len(waiting) > COMBINE_OVER else [row]

    def _is_alone(self, row: OutboxMessage) -> bool:
        return (row._meta.label, row.pk) in self.alone

    def _send(self, rows: Sequence[OutboxMessage], chat: TelegramChat) -> None:
        """Tell these rows in one message. They say `sending` before Telegram is asked: a crash makes no second one."""
        assert self.bot is not None
        claimed = move_all(rows, [Status.PENDING], Status.SENDING)
        if len(claimed) > 1:
            type(claimed[0]).read_ahead(claimed)
        parts = [(row, text) for row in claimed if (text := _render(row, brief=len(claimed) > 1))]
        if not parts:
            return
        told = [row for row, _ in parts]
        if len(told) == 1:
            # What was claimed with it has nothing to tell any more.
            text = parts[0][1] if len(claimed) == 1 else _render(told[0])
        else:
            text, count = _combined(told, [part for _, part in parts])
            if told[count:]:
                move_all(told[count:], [Status.SENDING], Status.PENDING)
            told = told[:count]
        if not text:
            return
        reply_to = told[0].reply_to(chat.chat_id) if len(told) == 1 else None
        self.pacer.record(chat.chat_id)
        self.unsaved = told, chat, telegram.send(self.bot, chat, text, reply_to=reply_to)
        self._save_outcome()

    def _save_outcome(self) -> None:
        assert self.unsaved is not None
        rows, chat, outcome = self.unsaved
        if len(rows) > 1 and outcome.status is telegram.Status.FAILED and outcome.scope is telegram.Scope.MESSAGE:
            self.alone |= {(row._meta.label, row.pk) for row in rows}
            outcome = telegram.Outcome(telegram.Status.RETRY, reason=outcome.reason, after=0)
        try:
            with transaction.atomic():
                save_outcome(rows, outcome.moved_to or chat.chat_id, outcome)
                _save_chat(chat, outcome)
        except (OperationalError, InterfaceError):
            raise  # kept, and saved when the database is back
        except Exception:
            self.unsaved = None  # can't be saved: the rows become uncertain, the others go on
            raise
        self.unsaved = None
        if outcome.scope is telegram.Scope.BOT:
            self.pacer.hold(outcome.after or 0)
            log.error("Telegram refuses TELEGRAM_BOT_TOKEN, sending pauses", seconds=outcome.after)
            return
        for row in rows:
            log.info("message", outbox=row._meta.label, id=row.pk, outcome=outcome.status.value, reason=outcome.reason)
            if outcome.status is not telegram.Status.RETRY:
                self.alone.discard((row._meta.label, row.pk))

    def _print(self, row: OutboxMessage) -> bool:
        """Print the message, framed as Django's console e-mail backend does, if the row is still waiting."""
        if move(row, [Status.PENDING], Status.SENDING) and (text := _render(row)):
            line = "-" * 79
            sys.stdout.write(f"{line}\nTelegram: {row}\n\n{telegram.plain(text)}\n{line}\n")
            sys.stdout.flush()
            move(row, [Status.SENDING], Status.CONSOLE, error=NO_TOKEN)
        return True


def _render(row: OutboxMessage, *, brief: bool = False) -> str:
    """Return the text of a claimed row; one without a text is settled here: cancelled, or failed."""
    try:
        text = row.brief() if brief else row.render()
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:
        log.exception("message can't be rendered", outbox=row._meta.label, id=row.pk)
        move(row, [Status.SENDING], Status.FAILED, error=f"{type(error).__name__}: {error}"[:500])
        return ""
    if not text:
        move(row, [Status.SENDING], Status.CANCELLED)
    return text


def _combined(rows: Sequence[OutboxMessage], parts: Sequence[str]) -> tuple[str, int]:
    """Return one message of as many parts as Telegram takes, and how many these are."""
    model = type(rows[0])
    count = fitting(model.heading(len(parts)), parts, model.separator)
    text = model.separator.join(parts[:count])
    heading = model.heading(count)
    return (f"{heading}\n\n{text}" if heading else text), count


def _hold_lock_and_send(sender: Sender) -> None:
    """Wait for the lock, then send until told to stop. The lock is the connection's, and so is every claim."""
    while not try_lead(LOCK):
        if sender.stop.wait(LOCK_WAIT):
            return
    log.info("sender is active")
    sender.recover()
    sender.learn_pace()
    while not sender.stop.is_set():
        if not sender.send_pending():
            sender.stop.wait(IDLE_WAIT)


def _save_chat(chat: TelegramChat, outcome: telegram.Outcome) -> None:
    """Remember what an outcome says of the chat: its new id, its pause, or why it can't be written to."""
    here = TelegramChat.objects.filter(pk=chat.pk)
    if outcome.scope is telegram.Scope.CHAT and outcome.status is telegram.Status.FAILED:
        chats.disable_chat(chat=chat, reason=outcome.reason)
    elif outcome.scope is telegram.Scope.CHAT:
        here.update(paused_until=in_(timedelta(seconds=outcome.after or 0)))
    elif outcome.status is telegram.Status.SENT and chat.disabled_reason:
        chats.enable_chat(chat=chat)
    if outcome.moved_to is not None:
        try:
            with transaction.atomic():
                here.update(chat_id=outcome.moved_to)
        except IntegrityError:
            # The new group is entered as a chat of its own: both rows work, this one with a detour.
            log.warning("a chat became a group that is entered already", chat=chat.pk)
