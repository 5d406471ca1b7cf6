"""Who may open which cabinet (tokens, sessions, a log of it), what stands in it, and what its owner is told."""

from __future__ import annotations

from django.conf import settings
from django.core.validators import URLValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from notifications.models import OutboxMessage, TelegramChat
from referrals.models import Earning, Referrer


class Cabinet(Referrer):
    """A referrer as the owner of a cabinet: what the admin's page about signing in shows."""

    class Meta:
        proxy = True
        default_permissions = ("view", "change")
        verbose_name = _("cabinet")
        verbose_name_plural = _("cabinets")


class LandingPage(models.Model):
    """A page of the school that referrers pass on; their link is its address with `utm_source=<code>`."""

    title = models.CharField(_("title"), max_length=100)
    url = models.CharField(
        _("address"),
        max_length=500,
        validators=[URLValidator(["https", "http"])],
        help_text=_("https://…; the referrer's code is added as utm_source."),
    )
    order = models.PositiveSmallIntegerField(_("order"), default=1)
    active = models.BooleanField(_("active"), default=True)

    class Meta:
        db_table = "cabinet_landing_pages"
        ordering = ["order", "id"]
        verbose_name = _("landing page")
        verbose_name_plural = _("landing pages")

    def __str__(self) -> str:
        return self.title


class OneTimeToken(models.Model):
    """What a link carries to sign in, or to link a Telegram chat. Only its digest is kept."""

    class Purpose(models.TextChoices):
        SIGN_IN = "sign_in", _("Sign in")
        LINK_CHAT = "link_chat", _("Link a chat")

    digest = models.CharField(max_length=64, unique=True)
    purpose = models.CharField(max_length=9, choices=Purpose)
    referrer = models.ForeignKey(Referrer, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "cabinet_tokens"
        default_permissions = ()
        constraints = [
            # A new link kills the old ones, also when two are made at once.
            models.UniqueConstraint(
                fields=["referrer", "purpose"], condition=Q(used_at__isnull=True), name="token_one_alive"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.purpose} {self.referrer_id}"


class CabinetSession(models.Model):
    """Somebody is signed in to a cabinet: its owner, or, with `viewer`, a manager who only looks."""

    digest = models.CharField(max_length=64, unique=True)
    referrer = models.ForeignKey(Referrer, on_delete=models.CASCADE, related_name="+")
    viewer = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, related_name="+")
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()

    class Meta:
        db_table = "cabinet_sessions"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.referrer_id} {self.viewer_id or ''}".strip()


class SignInAttempt(models.Model):
    """Somebody asked for a link: counted by what they typed, whom it named and where they are, all as digests."""

    who = models.CharField(max_length=64)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "cabinet_sign_in_attempts"
        default_permissions = ()
        indexes = [models.Index("who", "at", name="attempt_who_at")]  # how many lately

    def __str__(self) -> str:
        return str(self.at)


class AccessEvent(models.Model):
    """What happened to the access to a cabinet, for the manager to look up. Only ever added to."""

    class Kind(models.TextChoices):
        LINK_MADE = "link_made", _("Sign-in link copied by a manager")
        LINK_SENT = "link_sent", _("Sign-in link sent by Telegram")
        SIGNED_IN = "signed_in", _("Signed in")
        SIGNED_OUT = "signed_out", _("Signed out")
        VIEW_BEGUN = "view_begun", _("A manager opened the cabinet")
        PAGE_VIEWED = "page_viewed", _("A manager looked at a page")
        CHAT_LINKED = "chat_linked", _("Telegram linked")
        CHAT_UNLINKED = "chat_unlinked", _("Telegram unlinked")

    referrer = models.ForeignKey(Referrer, on_delete=models.CASCADE, related_name="+", verbose_name=_("referrer"))
    kind = models.CharField(_("what happened"), max_length=13, choices=Kind)
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        related_name="+",
        verbose_name=_("manager"),
        help_text=_("Empty: the referrer."),
    )
    detail = models.CharField(_("page"), max_length=200, blank=True, default="")
    at = models.DateTimeField(_("at"), db_default=Now())

    class Meta:
        db_table = "cabinet_access_events"
        default_permissions = ("view",)
        verbose_name = _("access to a cabinet")
        verbose_name_plural = _("access to cabinets")

    def __str__(self) -> str:
        return self.get_kind_display()


class LinkedChat(models.Model):
    """The Telegram chat of a referrer, and what is told there."""

    referrer = models.OneToOneField(Referrer, on_delete=models.CASCADE, related_name="linked_chat")
    chat = models.OneToOneField(TelegramChat, on_delete=models.CASCADE, related_name="+")
    accruals = models.BooleanField(_("New commissions"), default=True)
    reversals = models.BooleanField(_("Commissions taken back, with the reason"), default=True)
    payouts = models.BooleanField(_("Payouts"), default=True)
    linked_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "cabinet_linked_chats"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.referrer_id} → {self.chat_id}"


class CabinetMessage(OutboxMessage):
    """A message to a referrer's chat: a fact of the ledger, a link to sign in, or an answer of the bot.

    The text is made when it is sent, so no link that signs anybody in is ever stored.
    """

    class Kind(models.TextChoices):
        ACCRUAL = "accrual", _("New commission")
        REVERSAL = "reversal", _("Commission taken back")
        PAYOUT = "payout", _("Payout")
        SIGN_IN = "sign_in", _("Sign-in link")
        START = "start", _("Answer to /start")
        LINKED = "linked", _("Chat linked")
        BALANCE = "balance", _("Answer to /balance")
        LINKS = "links", _("Answer to /link")
        STOP = "stop", _("Answer to /stop")
        HINT = "hint", _("Hint")

    referrer = models.ForeignKey(
        Referrer, on_delete=models.CASCADE, null=True, related_name="+", verbose_name=_("referrer")
    )
    kind = models.CharField(_("kind"), max_length=8, choices=Kind)
    earning = models.ForeignKey(
        Earning, on_delete=models.PROTECT, null=True, related_name="+", verbose_name=_("ledger entry")
    )
    payout = models.ForeignKey(
        "payouts.Payout", on_delete=models.PROTECT, null=True, related_name="+", verbose_name=_("payout")
    )
    update_id = models.BigIntegerField(_("Telegram update"), null=True, help_text=_("What the bot answers to."))

    class Meta(OutboxMessage.Meta):
        abstract = False
        db_table = "cabinet_messages"
        default_permissions = ("view",)
        verbose_name = _("message to a referrer")
        verbose_name_plural = _("messages to referrers")
        constraints = [
            # One message per fact (law 8), and one answer per update, however often Telegram brings it.
            models.UniqueConstraint(fields=["chat", "earning"], name="cabinet_message_once"),
            models.UniqueConstraint(fields=["chat", "payout"], name="cabinet_payout_told_once"),
            models.UniqueConstraint(fields=["update_id"], name="cabinet_answer_once"),
            models.CheckConstraint(
                condition=Q(kind__in=["accrual", "reversal"], earning__isnull=False)
                | (~Q(kind__in=["accrual", "reversal"]) & Q(earning__isnull=True)),
                name="cabinet_message_has_its_entry",
            ),
            models.CheckConstraint(
                condition=Q(kind="payout", payout__isnull=False) | (~Q(kind="payout") & Q(payout__isnull=True)),
                name="cabinet_message_has_its_payout",
            ),
            models.CheckConstraint(condition=Q(chat__isnull=False), name="cabinet_message_has_chat"),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} → {self.chat_id}"

    def render(self) -> str:
        """Return the message as things stand now."""
        from referrals.cabinet import messages

        return messages.text_of(self)
