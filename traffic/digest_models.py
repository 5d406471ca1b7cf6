"""Digests: to which chats, when, and the messages themselves."""

from __future__ import annotations

from datetime import time

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from notifications.models import OutboxMessage, TelegramChat


class DigestKind(models.TextChoices):
    """What a digest sums up."""

    DAILY = "daily", _("Daily")
    WEEKLY = "weekly", _("Weekly")


class DigestSchedule(models.Model):
    """A chat gets digests of this kind, at this time of the business day, settings.TIME_ZONE."""

    class Weekday(models.IntegerChoices):
        MONDAY = 0, _("Monday")
        TUESDAY = 1, _("Tuesday")
        WEDNESDAY = 2, _("Wednesday")
        THURSDAY = 3, _("Thursday")
        FRIDAY = 4, _("Friday")
        SATURDAY = 5, _("Saturday")
        SUNDAY = 6, _("Sunday")

    kind = models.CharField(_("kind"), max_length=6, choices=DigestKind, default=DigestKind.DAILY)
    chat = models.ForeignKey(
        TelegramChat,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("chat"),
        limit_choices_to=~models.Q(kind=TelegramChat.Kind.REFERRER),
        help_text=_("Empty: the common chat."),
    )
    at = models.TimeField(_("at"), default=time(9), help_text=_("Almaty time; about the day or the week before."))
    weekday = models.PositiveSmallIntegerField(
        _("weekday"), choices=Weekday, default=Weekday.MONDAY, help_text=_("Of the weekly one; a week ends on Sunday.")
    )
    active = models.BooleanField(_("active"), default=True)
    since = models.DateTimeField(_("since"), db_default=Now(), editable=False)

    class Meta:
        db_table = "digest_schedules"
        ordering = ["kind", "id"]
        verbose_name = _("digest schedule")
        verbose_name_plural = _("digest schedules")
        constraints = [
            models.UniqueConstraint(fields=["chat", "kind"], name="digest_schedule_once", nulls_distinct=False),
            models.CheckConstraint(condition=models.Q(weekday__lte=6), name="digest_schedule_weekday"),
        ]

    def __str__(self) -> str:
        return self.get_kind_display()


class Digest(OutboxMessage):
    """A digest to one chat about the day, or the week from Monday on, that begins on `date`."""

    kind = models.CharField(_("kind"), max_length=6, choices=DigestKind)
    date = models.DateField(_("day"), help_text=_("Of a week: its Monday."))

    class Meta(OutboxMessage.Meta):
        abstract = False
        db_table = "digests"
        verbose_name = _("digest of sales")
        verbose_name_plural = _("digests of sales")
        constraints = [
            # One message per fact (law 8), however many workers' clocks tick.
            models.UniqueConstraint(fields=["chat", "kind", "date"], name="digest_once", nulls_distinct=False),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.date:%d.%m.%Y}"

    def render(self) -> str:
        """Return the digest, from the sales as they are now."""
        from traffic import digest

        return digest.digest_text(kind=self.kind, date=self.date)
