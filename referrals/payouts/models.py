"""Payouts to referrers: a batch is previewed, confirmed once, and from then on its sums are frozen by the database."""

from __future__ import annotations

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from referrals.models import Conversion, Earning, Referrer
from referrals.payouts.accounts import valid_account, valid_iin, valid_recipient


class BankDetails(models.Model):
    """Where a referrer's money goes. A payout keeps a copy of what was right when it was confirmed."""

    referrer = models.OneToOneField(
        Referrer, on_delete=models.PROTECT, related_name="bank_details", verbose_name=_("referrer")
    )
    recipient = models.CharField(
        _("recipient"), max_length=200, validators=[valid_recipient], help_text=_("Full name, as the bank has it.")
    )
    iin = models.CharField(
        _("IIN"), max_length=12, blank=True, default="", validators=[valid_iin], help_text=_("Twelve digits.")
    )
    account = models.CharField(
        _("account"),
        max_length=34,
        validators=[valid_account],
        help_text=_("IBAN, KZ and 18 characters; or the phone number that the bank knows, +7 and ten digits."),
    )
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)

    class Meta:
        db_table = "referral_bank_details"
        verbose_name = _("bank details")
        verbose_name_plural = _("bank details")
        constraints = [
            models.CheckConstraint(condition=~Q(recipient="") & ~Q(account=""), name="bank_details_complete"),
        ]

    def __str__(self) -> str:
        return str(self.referrer)


class PayoutBatch(models.Model):
    """One round of payouts: everything that was available on the day `cutoff`, for all who reach the minimum."""

    class State(models.TextChoices):
        DRAFT = "draft", _("Draft")
        CONFIRMED = "confirmed", _("Confirmed")
        VOID = "void", _("Void")

    cutoff = models.DateField(
        _("cut-off"), help_text=_("Commissions that are available on this day, Almaty time, are paid.")
    )
    minimum = models.DecimalField(
        _("minimum, ₸"),
        max_digits=12,
        decimal_places=0,
        validators=[MinValueValidator(1)],
        help_text=_("Who has less is paid in a later batch."),
    )
    state = models.CharField(_("state"), max_length=9, choices=State, default=State.DRAFT)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", verbose_name=_("made by")
    )
    created_at = models.DateTimeField(_("created at"), db_default=Now())
    confirmed_at = models.DateTimeField(_("confirmed at"), null=True, blank=True)

    class Meta:
        db_table = "referral_payout_batches"
        ordering = ["-pk"]
        verbose_name = _("batch of payouts")
        verbose_name_plural = _("batches of payouts")
        constraints = [
            models.CheckConstraint(condition=Q(minimum__gte=1), name="batch_minimum_positive"),
            models.CheckConstraint(
                condition=~Q(state="confirmed") | Q(confirmed_at__isnull=False), name="batch_confirmed_at"
            ),
        ]

    def __str__(self) -> str:
        return f"№ {self.pk}"


class Payout(models.Model):
    """What one referrer gets in one batch. Born confirmed; sum and recipient never change (trigger).

    confirmed → paid, failed or void; failed → paid or void. Paid and void are final. Void gives the entries back.
    """

    class State(models.TextChoices):
        CONFIRMED = "confirmed", _("To be transferred")
        PAID = "paid", _("Paid")
        FAILED = "failed", _("Not transferred")
        VOID = "void", _("Void")

    batch = models.ForeignKey(PayoutBatch, on_delete=models.PROTECT, related_name="payouts", verbose_name=_("batch"))
    referrer = models.ForeignKey(Referrer, on_delete=models.PROTECT, related_name="payouts", verbose_name=_("referrer"))
    amount = models.DecimalField(_("amount"), max_digits=14, decimal_places=0)
    state = models.CharField(_("state"), max_length=9, choices=State, default=State.CONFIRMED)
    recipient = models.CharField(_("recipient"), max_length=200)
    iin = models.CharField(_("IIN"), max_length=12, blank=True, default="")
    account = models.CharField(_("account"), max_length=34)
    paid_on = models.DateField(_("paid on"), null=True, blank=True)
    reference = models.CharField(_("bank's document"), max_length=100, blank=True, default="")
    reason = models.CharField(_("reason"), max_length=300, blank=True, default="", help_text=_("Why not, or why void."))
    created_at = models.DateTimeField(_("created at"), db_default=Now())

    class Meta:
        db_table = "referral_payouts"
        ordering = ["-pk"]
        verbose_name = _("payout")
        verbose_name_plural = _("payouts")
        constraints = [
            models.UniqueConstraint(fields=["batch", "referrer"], name="payout_once_a_batch"),
            models.CheckConstraint(condition=Q(amount__gt=0), name="payout_positive"),
            models.CheckConstraint(
                condition=Q(state="paid", paid_on__isnull=False) | (~Q(state="paid") & Q(paid_on__isnull=True)),
                name="payout_paid_on",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=["failed", "void"]) | ~Q(reason=""), name="payout_says_why_not"
            ),
        ]

    def __str__(self) -> str:
        return f"№ {self.pk}"


class PayoutItem(models.Model):
    """A ledger entry in a payout. `live` ends when the payout is void (trigger), and the entry is free again."""

    payout = models.ForeignKey(Payout, on_delete=models.PROTECT, related_name="items", verbose_name=_("payout"))
    earning = models.ForeignKey(
        Earning, on_delete=models.PROTECT, related_name="payout_items", db_index=False, verbose_name=_("ledger entry")
    )
    amount = models.DecimalField(_("amount"), max_digits=14, decimal_places=0)
    live = models.BooleanField(default=True)

    class Meta:
        db_table = "referral_payout_items"
        default_permissions = ()
        verbose_name = _("entry of a payout")
        verbose_name_plural = _("entries of payouts")
        constraints = [
            # Whatever two managers do at once: an entry is paid by one payout.
            models.UniqueConstraint(fields=["earning"], condition=Q(live=True), name="payout_item_one_live"),
        ]

    def __str__(self) -> str:
        return f"{self.payout_id}: {self.amount}"


class Standing(models.Model):
    """What the ledger has of a conversion for a referrer, by what became of it: a database view.

    `posted` is the sum of `open`, which no live payout has, and of what is in payouts that are paid, confirmed
    (`moving`) or failed. Beside them the last payout that brings some of it, of each kind, and the last that deducts.
    A query that names the referrer or the conversions, in the join's own condition, reads their entries alone.
    """

    pk = models.CompositePrimaryKey("conversion_id", "referrer_id")
    conversion = models.ForeignKey(Conversion, on_delete=models.DO_NOTHING, related_name="standings")
    referrer = models.ForeignKey(Referrer, on_delete=models.DO_NOTHING, related_name="+")
    posted = models.DecimalField(max_digits=14, decimal_places=0)
    open = models.DecimalField(max_digits=14, decimal_places=0)
    paid = models.DecimalField(max_digits=14, decimal_places=0)
    moving = models.DecimalField(max_digits=14, decimal_places=0)
    failed = models.DecimalField(max_digits=14, decimal_places=0)
    paid_in = models.ForeignKey(Payout, on_delete=models.DO_NOTHING, null=True, related_name="+")
    moving_in = models.ForeignKey(Payout, on_delete=models.DO_NOTHING, null=True, related_name="+")
    failed_in = models.ForeignKey(Payout, on_delete=models.DO_NOTHING, null=True, related_name="+")
    deducted_in = models.ForeignKey(Payout, on_delete=models.DO_NOTHING, null=True, related_name="+")

    class Meta:
        managed = False
        db_table = "referral_standings"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.conversion_id}: {self.posted}"


class PayoutEvent(models.Model):
    """Who did what to a batch or one of its payouts, when. Only ever added to (trigger)."""

    class Kind(models.TextChoices):
        CREATED = "created", _("Draft made")
        CONFIRMED = "confirmed", _("Confirmed, sums frozen")
        PAID = "paid", _("Paid")
        FAILED = "failed", _("Not transferred")
        VOID = "void", _("Void")

    batch = models.ForeignKey(PayoutBatch, on_delete=models.PROTECT, related_name="events", verbose_name=_("batch"))
    payout = models.ForeignKey(
        Payout, on_delete=models.PROTECT, null=True, related_name="events", verbose_name=_("payout")
    )
    kind = models.CharField(_("what happened"), max_length=9, choices=Kind)
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", verbose_name=_("manager")
    )
    note = models.CharField(_("note"), max_length=300, blank=True, default="")
    at = models.DateTimeField(_("at"), db_default=Now())

    class Meta:
        db_table = "referral_payout_events"
        default_permissions = ()
        ordering = ["pk"]
        verbose_name = _("event of a payout")
        verbose_name_plural = _("events of payouts")

    def __str__(self) -> str:
        return self.get_kind_display()


class LedgerCheck(models.Model):
    """One run of check_ledger: how many rows each check found wrong, with a few of them to begin with."""

    started_at = models.DateTimeField(_("started at"), db_default=Now())
    seconds = models.FloatField(_("seconds"))
    wrong = models.PositiveIntegerField(_("wrong rows"))
    findings = models.JSONField(_("findings"), help_text=_("By check: count and examples."))

    class Meta:
        db_table = "referral_ledger_checks"
        default_permissions = ("view",)
        ordering = ["-pk"]
        verbose_name = _("check of the ledger")
        verbose_name_plural = _("checks of the ledger")

    def __str__(self) -> str:
        return f"№ {self.pk}"
