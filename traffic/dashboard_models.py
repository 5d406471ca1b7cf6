"""What the Traffic Dashboard keeps: the money spent on ads, and sums of sales by day (traffic/day_totals.py)."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now, Trim
from django.utils.translation import gettext_lazy as _


class AdSpend(models.Model):
    """What one day's ads of a targetologist cost, of one campaign or of all together (an empty campaign)."""

    date = models.DateField(_("day"))
    targetologist = models.ForeignKey(
        "traffic.Targetologist", on_delete=models.PROTECT, related_name="spend", verbose_name=_("targetologist")
    )
    campaign = models.CharField(
        _("campaign"),
        max_length=500,
        blank=True,
        default="",
        help_text=_("As in utm_campaign. Empty: all campaigns of the day together."),
    )
    amount = models.DecimalField(_("amount"), max_digits=12, decimal_places=0, help_text=_("Whole tenge."))
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="+",
        verbose_name=_("author"),
    )
    updated_at = models.DateTimeField(_("updated at"), auto_now=True, db_default=Now())

    class Meta:
        db_table = "ad_spend"
        ordering = ["-date", "targetologist", "campaign"]
        verbose_name = _("ad spend")
        verbose_name_plural = _("ad spend")
        constraints = [
            # A file imported twice is there once; its index serves the dashboard's period, too.
            models.UniqueConstraint(
                fields=["date", "targetologist", "campaign"],
                name="ad_spend_unique",
                violation_error_message=_("The spend of this day, targetologist and campaign is entered already."),
            ),
            models.CheckConstraint(
                condition=Q(amount__gte=0),
                name="ad_spend_not_negative",
                violation_error_message=_("An amount can't be negative."),
            ),
            models.CheckConstraint(condition=Q(campaign=Trim(F("campaign"))), name="ad_spend_campaign_trimmed"),
        ]

    def __str__(self) -> str:
        return f"{self.date:%d.%m.%Y} {self.targetologist} {self.campaign}".strip()


class SaleDayChange(models.Model):
    """A day (UTC) of which a sale came, changed or went. Written by triggers, in the transaction of the change."""

    utc_day = models.DateField(db_index=True)

    class Meta:
        db_table = "sale_day_changes"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.utc_day}"


class SaleDayBuilt(models.Model):
    """A business day whose sums stand in `sale_day_totals`: right as long as no change is noted near it."""

    day = models.DateField(primary_key=True)
    zone = models.CharField(max_length=64)  # the TIME_ZONE in which it is a day

    class Meta:
        db_table = "sale_days_built"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.day}"


class SaleTotal(models.Model):
    """Sums of sales that are alike."""

    state = models.CharField(max_length=8)
    channel = models.CharField(max_length=13)
    targetologist = models.CharField(max_length=50, null=True)
    sales = models.IntegerField()
    priced = models.IntegerField()  # of them with a known amount
    lacking = models.IntegerField()  # of them that lack the amount, or both campaign and source
    known = models.DecimalField(max_digits=20, decimal_places=0)  # the sum of the known amounts

    class Meta:
        abstract = True
        default_permissions = ()


class SaleDayTotal(SaleTotal):
    """The sales of a business day that are alike in everything by which the dashboard filters, summed."""

    day = models.DateField(db_index=True)
    utm_campaign = models.TextField()
    utm_source = models.TextField()
    utm_medium = models.TextField()
    funnel_type = models.CharField(max_length=20)

    class Meta(SaleTotal.Meta):
        db_table = "sale_day_totals"

    def __str__(self) -> str:
        return f"{self.day} {self.utm_campaign}"


class SaleLineTotal(SaleTotal):
    """A day's rows of `sale_day_totals` by whose they are alone. Written by triggers, with them."""

    day = models.DateField(db_index=True)

    class Meta(SaleTotal.Meta):
        db_table = "sale_line_totals"

    def __str__(self) -> str:
        return f"{self.day} {self.targetologist or self.channel}"


class SaleMonthTotal(SaleTotal):
    """A month's rows of `sale_day_totals`, summed over its days. Written by triggers, with them."""

    month = models.DateField(db_index=True)  # its first day
    utm_campaign = models.TextField()
    utm_source = models.TextField()
    utm_medium = models.TextField()
    funnel_type = models.CharField(max_length=20)

    class Meta(SaleTotal.Meta):
        db_table = "sale_month_totals"

    def __str__(self) -> str:
        return f"{self.month:%Y-%m} {self.utm_campaign}"
