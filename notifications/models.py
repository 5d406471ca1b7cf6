"""Where messages go (TelegramChat) and the outbox that other apps derive theirs from (OutboxMessage)."""

from __future__ import annotations

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
    paused_until = models.DateTimeField(_("paused until"), null=True, blank=True)

    class Meta:
        db_table = "telegram_chats"
        verbose_name = _("Telegram chat")
        verbose_name_plural = _("Telegram chats")
        constraints = [
            models.UniqueConstraint(fields=["chat_id", "topic"], name="chat_unique", nulls_distinct=False),
        ]

    def __str__(self) -> str:
        return self.title or str(self.chat_id)


class OutboxMessage(models.Model):
    """A message to be sent once. Written in the transaction of the fact it tells; `notifications.sender` sends it.

    A concrete model gives `render() -> str` (Telegram HTML, everything escaped) and its unique constraint.
    """

    class Status(models.TextChoices):
        PENDING = "pending", _("Waiting")
        SENDING = "sending", _("Being sent")
        SENT = "sent", _("Sent")
        CONSOLE = "console", _("Printed to the console")
        UNCERTAIN = "uncertain", _("Perhaps delivered")
        FAILED = "failed", _("Failed")
        CANCELLED = "cancelled", _("Cancelled")

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
    error = models.TextField(_("error"), blank=True, default="")
    created_at = models.DateTimeField(_("created at"), db_default=Now())

    class Meta:
        abstract = True
        indexes = [
            # What the sender asks for at every turn of its loop.
            models.Index("next_attempt_at", "id", name="%(class)s_pending", condition=Q(notification_status="pending")),
        ]

    def render(self) -> str:
        """Return the text to send, as Telegram HTML with everything from outside escaped."""
        raise TypeError(f"{type(self).__name__} does not define render()")


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
