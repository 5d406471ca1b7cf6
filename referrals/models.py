"""Referrers, the conversions their links brought, and the append-only ledger of what they earned."""

from __future__ import annotations

from django.conf import settings
from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import ArrayField, BigIntegerRangeField, DateRangeField, RangeOperators
from django.db import models
from django.db.models import F, Func, Q, Value
from django.db.models.functions import Coalesce, Now
from django.utils.translation import gettext_lazy as _

from webhooks.models import WebhookDelivery


class ReferrerGroup(models.Model):
    """Referrers who earn by plans of their own."""

    name = models.CharField(_("name"), max_length=100, unique=True)

    class Meta:
        db_table = "referrer_groups"
        ordering = ["name"]
        verbose_name = _("group of referrers")
        verbose_name_plural = _("groups of referrers")

    def __str__(self) -> str:
        return self.name


class Referrer(models.Model):
    """Who brings customers by a link with `utm_source=<code>`. Unclaimed: nobody has said yet whose code it is."""

    code = models.CharField(_("code"), max_length=500, unique=True, help_text=_("Begins with ref_, in lower case."))
    name = models.CharField(_("name"), max_length=200, blank=True)
    phone = models.CharField(_("phone"), max_length=32, blank=True)
    email = models.EmailField(_("e-mail"), blank=True)
    group = models.ForeignKey(
        ReferrerGroup,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="referrers",
        verbose_name=_("group"),
        help_text=_("Sales from now on earn by the group's plan, if it has one."),
    )
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


def _range(column: str) -> Func:
    """Return a foreign key as a range of one number, 0 for none: GiST compares ranges without an extension."""
    number = Coalesce(F(column), Value(0))
    return Func(number, number, Value("[]"), function="int8range", output_field=BigIntegerRangeField())


class CommissionPlan(models.Model):
    """What a conversion earns, by the day of the sale: for one referrer, else for a group, else for everyone.

    Terms never change (trigger): other terms are a new version, and conversions keep the version they earned by. Only
    the end may move: `valid_to` is the first day on which it no longer holds; one equal to `valid_from` never held.
    """

    class Kind(models.TextChoices):
        PERCENT = "percent", _("Percent of the amount")
        FIXED = "fixed", _("Fixed sum")
        PERCENT_TIERS = "percent_tiers", _("Percent by sales in the month")
        FIXED_TIERS = "fixed_tiers", _("Fixed sum by sales in the month")

    TIERED = (Kind.PERCENT_TIERS, Kind.FIXED_TIERS)
    RATES = ("rate_from_1", "rate_from_3", "rate_from_5", "rate_from_8")
    TERMS = ("group", "referrer", "kind", "value", *RATES, "cap", "first_sale_only", "valid_from")

    name = models.CharField(_("name"), max_length=100)
    group = models.ForeignKey(
        ReferrerGroup, on_delete=models.PROTECT, null=True, blank=True, related_name="plans", verbose_name=_("group")
    )
    referrer = models.ForeignKey(
        Referrer, on_delete=models.PROTECT, null=True, blank=True, related_name="plans", verbose_name=_("referrer")
    )
    kind = models.CharField(_("kind"), max_length=13, choices=Kind, default=Kind.PERCENT)
    value = models.DecimalField(
        _("value"), max_digits=12, decimal_places=2, null=True, blank=True, help_text=_("Percent, or tenge a sale.")
    )
    rate_from_1 = models.DecimalField(_("1–2 sales"), max_digits=12, decimal_places=2, null=True, blank=True)
    rate_from_3 = models.DecimalField(_("3–4 sales"), max_digits=12, decimal_places=2, null=True, blank=True)
    rate_from_5 = models.DecimalField(_("5–7 sales"), max_digits=12, decimal_places=2, null=True, blank=True)
    rate_from_8 = models.DecimalField(_("8 sales and more"), max_digits=12, decimal_places=2, null=True, blank=True)
    cap = models.DecimalField(
        _("at most, ₸"), max_digits=12, decimal_places=0, null=True, blank=True, help_text=_("For one sale.")
    )
    first_sale_only = models.BooleanField(
        _("first sale only"),
        default=False,
        db_default=False,
        help_text=_("Of a customer's sales only the first earns."),
    )
    valid_from = models.DateField(_("valid from"))
    valid_to = models.DateField(
        _("valid to"), null=True, blank=True, help_text=_("The first day on which it no longer holds.")
    )
    version = models.PositiveSmallIntegerField(_("version"), default=1, db_default=1, editable=False)
    replaces = models.OneToOneField(
        "self",
        on_delete=models.PROTECT,
        null=True,
        editable=False,
        related_name="replaced_by",
        verbose_name=_("replaces"),
    )
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        editable=False,
        related_name="+",
        verbose_name=_("made by"),
    )
    created_at = models.DateTimeField(_("created at"), db_default=Now(), editable=False)

    class Meta:
        db_table = "commission_plans"
        ordering = ["valid_from"]
        verbose_name = _("commission plan")
        verbose_name_plural = _("commission plans")
        constraints = [
            models.CheckConstraint(
                condition=Q(
                    kind__in=["percent", "fixed"],
                    value__isnull=False,
                    rate_from_1=None,
                    rate_from_3=None,
                    rate_from_5=None,
                    rate_from_8=None,
                )
                | Q(
                    kind__in=["percent_tiers", "fixed_tiers"],
                    value=None,
                    rate_from_1__isnull=False,
                    rate_from_3__isnull=False,
                    rate_from_5__isnull=False,
                    rate_from_8__isnull=False,
                ),
                name="plan_has_its_rates",
            ),
            models.CheckConstraint(
                condition=(Q(value=None) | Q(value__gte=0))
                & (Q(rate_from_1=None) | Q(rate_from_1__gte=0))
                & (Q(rate_from_3=None) | Q(rate_from_3__gte=0))
                & (Q(rate_from_5=None) | Q(rate_from_5__gte=0))
                & (Q(rate_from_8=None) | Q(rate_from_8__gte=0)),
                name="plan_value_not_negative",
            ),
            models.CheckConstraint(
                condition=~Q(kind="percent") | Q(value__lte=100),
                name="plan_percent_at_most_100",
            ),
            models.CheckConstraint(
                condition=~Q(kind="percent_tiers")
                | Q(rate_from_1__lte=100, rate_from_3__lte=100, rate_from_5__lte=100, rate_from_8__lte=100),
                name="plan_percents_at_most_100",
            ),
            models.CheckConstraint(condition=Q(cap=None) | Q(cap__gt=0), name="plan_cap_positive"),
            models.CheckConstraint(condition=Q(group=None) | Q(referrer=None), name="plan_one_audience"),
            models.CheckConstraint(condition=Q(valid_to=None) | Q(valid_to__gte=F("valid_from")), name="plan_dates"),
            ExclusionConstraint(
                name="plan_no_overlap",
                violation_error_message=_("Another plan for the same people holds on some of these days."),
                expressions=[
                    (_range("group"), RangeOperators.OVERLAPS),
                    (_range("referrer"), RangeOperators.OVERLAPS),
                    (
                        Func(F("valid_from"), F("valid_to"), function="daterange", output_field=DateRangeField()),
                        RangeOperators.OVERLAPS,
                    ),
                ],
            ),
        ]

    def __str__(self) -> str:
        return self.name


# Conversions that a person has to release or reject. Two more holds wait for the referrer, not for a decision.
UNDECIDED = Q(state="won", rejected="") & ~Q(hold_reason__in=["", "unclaimed", "inactive"])


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
    utm_campaign = models.TextField(_("utm_campaign"), blank=True, db_default="", default="")
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
    # Where the plan asks, the first sale of the customer, if that is another deal: when that one changes, this one may.
    earlier_sale = models.BigIntegerField(_("earlier sale of the customer"), null=True, editable=False)
    # Stored, for of a customer who was forgotten nobody can tell any more.
    self_referral = models.BooleanField(
        _("the customer is the referrer"), default=False, db_default=False, editable=False
    )
    created_at = models.DateTimeField(_("created at"), db_default=Now())
    updated_at = models.DateTimeField(_("updated at"), db_default=Now())

    class Meta:
        db_table = "referral_conversions"
        verbose_name = _("conversion")
        verbose_name_plural = _("conversions")
        indexes = [
            models.Index("sale_date", name="conversion_undecided", condition=UNDECIDED),  # what waits for a person
            models.Index("sale_date", name="conversion_date"),  # dashboard: a period
            models.Index("referrer", "sale_date", name="conversion_referrer_date"),  # a referrer's month
            # the sales of one customer
            models.Index("contact_id", name="conversion_contact", condition=Q(contact_id__isnull=False)),
            # the sales that are not first because of a deal
            models.Index("earlier_sale", name="conversion_earlier", condition=Q(earlier_sale__isnull=False)),
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


class Decision(models.Model):
    """What a person decided of a conversion, for one referrer. Append-only; the ledger follows from all of them."""

    class Kind(models.TextChoices):
        RELEASE = "release", _("Released")
        REJECT = "reject", _("Rejected")
        REOPEN = "reopen", _("Rejection withdrawn")
        REFUND = "refund", _("Refund to the customer")
        CORRECTION = "correction", _("Correction")
        RECALCULATION = "recalculation", _("Recalculated")

    conversion = models.ForeignKey(
        Conversion, on_delete=models.PROTECT, related_name="decisions", verbose_name=_("conversion")
    )
    referrer = models.ForeignKey(
        Referrer, on_delete=models.PROTECT, related_name="+", db_index=False, verbose_name=_("referrer")
    )
    kind = models.CharField(_("decision"), max_length=13, choices=Kind)
    holds = ArrayField(models.CharField(max_length=16, choices=Conversion.Hold), default=list, verbose_name=_("holds"))
    amount = models.DecimalField(_("amount"), max_digits=14, decimal_places=0, null=True)
    reason = models.TextField(_("reason"), blank=True, default="")
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", db_index=False, verbose_name=_("by whom")
    )
    created_at = models.DateTimeField(_("created at"), db_default=Now())

    class Meta:
        db_table = "referral_decisions"
        default_permissions = ("add", "view")
        verbose_name = _("decision")
        verbose_name_plural = _("decisions")
        constraints = [
            models.CheckConstraint(
                condition=Q(kind="release", holds__len__gt=0) | (~Q(kind="release") & Q(holds__len=0) & ~Q(reason="")),
                name="decision_says_why",
            ),
            models.CheckConstraint(
                condition=Q(kind="refund", amount__gt=0)
                | (Q(kind="correction", amount__isnull=False) & ~Q(amount=0))
                | (~Q(kind__in=["refund", "correction"]) & Q(amount=None)),
                name="decision_amount",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.conversion_id} {self.get_kind_display()}"
