"""Where messages go (TelegramChat) and the outbox that other apps derive theirs from (OutboxMessage)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class TelegramChat(models.Model):
    """A chat that the bot writes to. A permanent error disables it and says why."""

    class Kind(models.TextChoices):
        COMMON = "common", _("Common")
        TARGETOLOGIST = "targetologist", _("Targetologist's")
        ADMIN = "admin", _("Administrators'")
        REFERRER = "referrer", _("Referrer's")

    chat_id = models.BigIntegerField(_("chat id"), help_text=_("Groups have a negative one."))
    topic = models.IntegerField(_("topic"), null=True, blank=True, help_text=_("Only in groups with topics."))
    title = models.CharField(_("title"), max_length=200, blank=True)
    kind = models.CharField(_("kind"), max_length=13, choices=Kind, default=Kind.COMMON)
    active = models.BooleanField(_("active"), default=True)
    disabled_reason = models.TextField(_("why disabled"), blank=True, default="")
    disabled_at = models.DateTimeField(_("disabled at"), null=True, blank=True)
    paused_until = models.DateTimeField(_("paused until"), null=True, blank=True)

    class Meta:
        db_table = "telegram_chats"
        verbose_name = _("Telegram chat")
        verbose_name_plural = _("Telegram chats")
        constraints = [
            models.UniqueConstraint(fields=["chat_id", "topic"], name="chat_unique", nulls_distinct=False),
            models.CheckConstraint(condition=Q(active=False) | Q(disabled_reason=""), name="chat_active_has_no_reason"),
        ]

    def __str__(self) -> str:
        return self.title or str(self.chat_id)


class OutboxMessage(models.Model):
    """A message to be sent once. Written in the transaction of the fact it tells; `notifications.sender` sends it.

    A concrete model gives `render() -> str` (Telegram HTML, everything escaped) and its unique constraint. Where more
    than a few wait for one chat, `brief()` and `heading()` make them one message.
    """

    class Status(models.TextChoices):
        PENDING = "pending", _("Waiting")
        SENDING = "sending", _("Being sent")
        SENT = "sent", _("Sent")
        CONSOLE = "console", _("Printed to the console")
        UNCERTAIN = "uncertain", _("Perhaps delivered")
        FAILED = "failed", _("Failed")
        CANCELLED = "cancelled", _("Cancelled")

    # A message to find out whether the chat can be written to again goes to one that is switched off, too.
    to_chats_that_are_off: ClassVar[bool] = False
    # What stands between the parts of a combined message.
    separator: ClassVar[str] = "\n\n"

    chat = models.ForeignKey(
        TelegramChat,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("chat"),
        help_text=_("Empty: the common chat of the moment of sending."),
    )
    notification_status = models.CharField(_("status"), max_length=9, choices=Status, default=Status.PENDING)
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0)
    next_attempt_at = models.DateTimeField(_("next attempt at"), db_default=Now())
    notified_at = models.DateTimeField(_("notified at"), null=True, blank=True)
    telegram_message_id = models.BigIntegerField(_("Telegram message"), null=True, blank=True)
    telegram_chat_id = models.BigIntegerField(
        _("sent to"),
        null=True,
        blank=True,
        help_text=_("The chat's id at that moment: the message's number is its own."),
    )
    error = models.TextField(_("error"), blank=True, default="")
    created_at = models.DateTimeField(_("created at"), db_default=Now())

    class Meta:
        abstract = True
        indexes = [
            # What the sender asks for at every turn of its loop: the oldest of each chat, however many wait.
            models.Index(
                "chat", "next_attempt_at", "id", name="%(class)s_waiting", condition=Q(notification_status="pending")
            ),
            # What /metrics and the alarms count of the last day, beside years of others; rows come in this order.
            BrinIndex("created_at", name="%(class)s_created"),
        ]

    @classmethod
    def read_ahead(cls, rows: Sequence[Self]) -> None:
        """Read what the texts of these rows need: once, rather than for each."""

    def render(self) -> str:
        """Return the text to send, as Telegram HTML with everything from outside escaped.

        Empty: there is nothing to tell any more, and the message is cancelled.
        """
        raise TypeError(f"{type(self).__name__} does not define render()")

    def brief(self) -> str:
        """Return what a combined message says of this one, in the same way."""
        return self.render()

    @classmethod
    def heading(cls, count: int) -> str:
        """Return the first line of a message that combines `count` of these; empty: none."""
        return ""

    def reply_to(self, chat_id: int) -> int | None:
        """Return the number of the message in that chat which this one answers; None where there is none."""
        return None


class Alarm(models.Model):
    """Something that was wrong with the system, from when to when. At most one of a name is without an end."""

    name = models.CharField(_("check"), max_length=50)
    text = models.TextField(_("what is wrong"))
    started_at = models.DateTimeField(_("started at"), db_default=Now())
    ended_at = models.DateTimeField(_("ended at"), null=True, blank=True)

    class Meta:
        db_table = "alarms"
        verbose_name = _("alarm")
        verbose_name_plural = _("alarms")
        constraints = [
            models.UniqueConstraint(fields=["name"], condition=Q(ended_at=None), name="alarm_standing"),
        ]

    def __str__(self) -> str:
        from notifications.alarms import title

        return title(self.name)


class AlarmMessage(OutboxMessage):
    """What an administrators' chat is told of an alarm: that it started, that it ended."""

    class Kind(models.TextChoices):
        STARTED = "started", _("Started")
        ENDED = "ended", _("Ended")

    alarm = models.ForeignKey(Alarm, on_delete=models.CASCADE, related_name="messages", verbose_name=_("alarm"))
    kind = models.CharField(_("kind"), max_length=7, choices=Kind)

    class Meta(OutboxMessage.Meta):
        db_table = "alarm_messages"
        verbose_name = _("message of an alarm")
        verbose_name_plural = _("messages of alarms")
        constraints = [models.UniqueConstraint(fields=["alarm", "chat", "kind"], name="alarm_message_once")]

    def __str__(self) -> str:
        return f"{self.alarm}: {self.get_kind_display()}"

    def render(self) -> str:
        """Return the alarm as it stands now."""
        from notifications.texts import alarm_message

        return alarm_message(self)


class ChatMessage(OutboxMessage):
    """A message about a chat: a test, sent to the chat itself, or what administrators are told of one."""

    class Kind(models.TextChoices):
        TEST = "test", _("Test")
        DISABLED = "disabled", _("A chat was switched off")

    to_chats_that_are_off = True

    # Goes with its chat: a chat that was only ever tested can be deleted.
    chat = models.ForeignKey(TelegramChat, on_delete=models.CASCADE, related_name="+", verbose_name=_("chat"))
    about = models.ForeignKey(TelegramChat, on_delete=models.CASCADE, related_name="messages", verbose_name=_("about"))
    kind = models.CharField(_("kind"), max_length=8, choices=Kind)
    occurred_at = models.DateTimeField(_("occurred at"), db_default=Now())

    class Meta(OutboxMessage.Meta):
        abstract = False
        db_table = "chat_messages"
        verbose_name = _("message about a chat")
        verbose_name_plural = _("messages about chats")
        constraints = [
            # One message per fact (law 8): the chat was switched off once at that moment.
            models.UniqueConstraint(fields=["about", "chat", "kind", "occurred_at"], name="chat_message_once"),
        ]

    def __str__(self) -> str:
        return f"{self.about}: {self.get_kind_display()}"

    def render(self) -> str:
        """Return the text, from the chat as it is now."""
        from notifications.texts import chat_message

        return chat_message(self)
