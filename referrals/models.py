"""Referrers, the conversions their links brought, and the append-only ledger of what they earned."""

from __future__ import annotations

from django.conf import settings
from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import DateRangeField, RangeOperators
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import F, Func, Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from webhooks.models import WebhookDelivery


class Referrer(models.Model):
    """Who brings customers by a link with `utm_source=<code>`. Unclaimed: nobody has said yet whose code it is."""

    code = models.CharField(_("code"), max_length=500, unique=True, help_text=_("Begins with ref_, in lower case."))
    name = models.CharField(_("name"), max_length=200, blank=True)
    phone = models.CharField(_("phone"), max_length=32, blank=True)
    email = models.EmailField(_("e-mail"), blank=True)
    active = models.BooleanField(_("active"), default=True)
    claimed = models.BooleanField(_("claimed"), default=False, help_text=_("Until then it accrues and is not payable."))
    created_at = models.DateTimeField(_("created at"), db_default=Now())

    class Meta:
        db_table = "referrers"
        ordering = ["code"]
        verbose_name = _("referrer")
        verbose_name_plural = _("referrers")
        constraints = [models.CheckConstraint(condition=Q(code__regex="^ref_"), name="referrer_code_prefix")]

    def __str__(self) -> str:
        return self.name or self.code


class CommissionPlan(models.Model):
    """What a conversion earns, by the day of the sale. `valid_to` is the first day on which it is no longer valid."""

    class Kind(models.TextChoices):
        PERCENT = "percent", _("Percent of the amount")
        FIXED = "fixed", _("Fixed sum")

    name = models.CharField(_("name"), max_length=100)
    kind = models.CharField(_("kind"), max_length=7, choices=Kind, default=Kind.PERCENT)
    value = models.DecimalField(_("value"), max_digits=12, decimal_places=2, validators=[MinValueValidator(0)])
    valid_from = models.DateField(_("valid from"))
    valid_to = models.DateField(
        _("valid to"), null=True, blank=True, help_text=_("The first day on which it no longer holds.")
    )

    class Meta:
        db_table = "commission_plans"
        ordering = ["valid_from"]
        verbose_name = _("commission plan")
        verbose_name_plural = _("commission plans")
        constraints = [
            models.CheckConstraint(condition=Q(value__gte=0), name="plan_value_not_negative"),
            models.CheckConstraint(condition=~Q(kind="percent") | Q(value__lte=100), name="plan_percent_at_most_100"),
            ExclusionConstraint(
                name="plan_no_overlap",
                expressions=[
                    (
                        Func(F("valid_from"), F("valid_to"), function="daterange", output_field=DateRangeField()),
                        RangeOperators.OVERLAPS,
                    ),
                ],
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Conversion(models.Model):
    """One won deal that came by a referral link. Never deleted: taken back is `reversed`."""

    class State(models.TextChoices):
        WON = "won", _("Won")
        REVERSED = "reversed", _("Taken back")

    class Hold(models.TextChoices):
        NONE = "", _("No hold")
        UNCLAIMED = "unclaimed", _("Nobody has claimed the code")
        INACTIVE = "inactive", _("The referrer is not active")
        SELF_REFERRAL = "self_referral", _("The customer is the referrer")
        AD_CAMPAIGN = "ad_campaign", _("The campaign is a targetologist's")

    lead_id = models.BigIntegerField(_("deal"), unique=True)
    lead_name = models.TextField(_("deal name"), blank=True, default="")
    referrer = models.ForeignKey(
        Referrer, on_delete=models.PROTECT, related_name="conversions", db_index=False, verbose_name=_("referrer")
    )
    contact_id = models.BigIntegerField(_("customer"), null=True, blank=True, help_text=_("The contact in AmoCRM."))
    utm_source = models.TextField(_("utm_source"))
    pipeline_id = models.BigIntegerField(_("pipeline"), null=True, blank=True)
    sale_amount = models.DecimalField(
        _("amount"), max_digits=14, decimal_places=0, null=True, blank=True, help_text=_("Empty: not known yet.")
    )
    state = models.CharField(_("state"), max_length=8, choices=State)
    moved = models.BooleanField(_("moved"), default=False, help_text=_("To another pipeline after the win."))
    plan = models.ForeignKey(
        CommissionPlan, on_delete=models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("plan")
    )
    sale_date = models.DateTimeField(_("sale date"))
    available_at = models.DateTimeField(_("available at"))
    hold_reason = models.CharField(_("hold"), max_length=16, choices=Hold, blank=True, default="")
    campaign_owner = models.CharField(
        _("whose campaign"),
        max_length=200,
        blank=True,
        db_default="",
        default="",
        help_text=_("Whose paid campaign the UTM also names."),
    )
    rejected = models.TextField(
        _("rejected"),
        blank=True,
        db_default="",
        default="",
        help_text=_("Why it earns nothing. The referrer reads it."),
    )
    created_at = models.DateTimeField(_("created at"), db_default=Now())
    updated_at = models.DateTimeField(_("updated at"), db_default=Now())

    class Meta:
        db_table = "referral_conversions"
        verbose_name = _("conversion")
        verbose_name_plural = _("conversions")
        indexes = [
            models.Index("sale_date", name="conversion_date"),  # dashboard: a period
            models.Index("referrer", "sale_date", name="conversion_referrer_date"),  # a referrer's month
            # the sales of one customer
            models.Index("contact_id", name="conversion_contact", condition=Q(contact_id__isnull=False)),
            models.Index("created_at", name="conversion_created"),  # "the latest five"
        ]

    def __str__(self) -> str:
        return f"{self.lead_id} {self.utm_source}"


class Earning(models.Model):
    """One entry of the ledger, whole tenge. Append-only: the database refuses UPDATE and DELETE."""

    class Kind(models.TextChoices):
        ACCRUAL = "accrual", _("Accrual")
        REVERSAL = "reversal", _("Reversal")
        ADJUSTMENT = "adjustment", _("Adjustment")

    conversion = models.ForeignKey(
        Conversion, on_delete=models.PROTECT, related_name="earnings", db_index=False, verbose_name=_("conversion")
    )
    referrer = models.ForeignKey(
        Referrer, on_delete=models.PROTECT, related_name="earnings", verbose_name=_("referrer")
    )
    seq = models.PositiveIntegerField(_("number"))
    kind = models.CharField(_("kind"), max_length=10, choices=Kind)
    amount = models.DecimalField(_("amount"), max_digits=14, decimal_places=0)
    reason = models.TextField(_("reason"))
    available_at = models.DateTimeField(
        _("available at"), help_text=_("What takes back has the date of what it takes back.")
    )
    # No key in the database: nobody deletes deliveries, and the key's lock would wait for whoever processes one again.
    delivery = models.ForeignKey(
        WebhookDelivery,
        on_delete=models.DO_NOTHING,
        related_name="+",
        null=True,
        blank=True,
        db_constraint=False,
        db_index=False,
        verbose_name=_("delivery"),
        help_text=_("What AmoCRM sent that led to it."),
    )
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        related_name="+",
        null=True,
        blank=True,
        db_index=False,
        verbose_name=_("by whom"),
    )
    created_at = models.DateTimeField(_("created at"), db_default=Now())

    class Meta:
        db_table = "referral_earnings"
        verbose_name = _("ledger entry")
        verbose_name_plural = _("ledger")
        constraints = [
            models.UniqueConstraint(fields=["conversion", "seq"], name="earning_seq"),
            models.CheckConstraint(condition=~Q(amount=0), name="earning_not_zero"),
        ]

    def __str__(self) -> str:
        return f"{self.conversion_id}/{self.seq} {self.amount}"
