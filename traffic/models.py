"""Targetologists and their rules, the sales attributed to them, and the messages about those sales."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from notifications.models import OutboxMessage, TelegramChat
from traffic.decision_models import ReattributionMove as ReattributionMove
from traffic.decision_models import ReattributionRun as ReattributionRun
from traffic.decision_models import RuleVersion as RuleVersion
from traffic.decision_models import SaleAttribution as SaleAttribution
from traffic.decision_models import SaleOverride as SaleOverride
from traffic.digest_models import Digest as Digest
from traffic.digest_models import DigestKind as DigestKind
from traffic.digest_models import DigestSchedule as DigestSchedule


class Targetologist(models.Model):
    """A paid-ads specialist whose campaigns bring customers."""

    slug = models.SlugField(_("slug"), primary_key=True, max_length=50)
    name = models.CharField(_("name"), max_length=100)
    emoji = models.CharField(_("emoji"), max_length=16, blank=True)
    user = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="targetologist",
        verbose_name=_("user"),
    )
    chat = models.ForeignKey(
        TelegramChat, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("chat")
    )
    active = models.BooleanField(_("active"), default=True)
    order = models.PositiveSmallIntegerField(_("order"), default=0)

    class Meta:
        db_table = "targetologists"
        ordering = ["order", "slug"]
        verbose_name = _("targetologist")
        verbose_name_plural = _("targetologists")
        permissions = [("view_all_sales", _("Can see the sales of all targetologists"))]

    def __str__(self) -> str:
        return f"{self.name} {self.emoji}".strip()


class Funnel(models.Model):
    """A way in which the school sells; a campaign's name tells of it by one of the words."""

    slug = models.SlugField(_("slug"), primary_key=True, max_length=20)
    name = models.CharField(_("name"), max_length=100)
    words = models.TextField(
        _("words"),
        blank=True,
        help_text=_("One a line. A campaign whose name contains one of them is of this funnel; the first funnel wins."),
    )
    order = models.PositiveSmallIntegerField(_("order"), default=0)
    is_default = models.BooleanField(
        _("default"), default=False, help_text=_("The funnel of campaigns in whose names no word was found.")
    )

    class Meta:
        db_table = "funnels"
        ordering = ["order", "slug"]
        verbose_name = _("funnel")
        verbose_name_plural = _("funnels")
        constraints = [
            models.UniqueConstraint(fields=["is_default"], condition=Q(is_default=True), name="funnel_one_default"),
        ]

    def __str__(self) -> str:
        return self.name


class Pipeline(models.Model):
    """A pipeline of AmoCRM: what it sells, and whether its won deals are sales.

    One that is not entered here is decided by settings.TRAFFIC_PIPELINE_IDS.
    """

    pipeline_id = models.BigIntegerField(_("number"), primary_key=True, help_text=_("As in its address in AmoCRM."))
    name = models.CharField(_("name"), max_length=100)
    product = models.CharField(
        _("product"), max_length=100, blank=True, help_text=_("What messages and pages call what was bought.")
    )
    counts = models.BooleanField(
        _("counts"),
        default=True,
        help_text=_(
            "Deals won in it are sales. A change counts for what happens from now on; "
            "<code>manage.py resync traffic</code> brings older deals in line."
        ),
    )

    class Meta:
        db_table = "pipelines"
        ordering = ["name", "pipeline_id"]
        verbose_name = _("pipeline")
        verbose_name_plural = _("pipelines")

    def __str__(self) -> str:
        return self.name


class AttributionRule(models.Model):
    """If the pattern matches, the sale is this targetologist's. The first match wins, in the order of `order`."""

    class Field(models.TextChoices):
        CAMPAIGN_OR_SOURCE = "campaign_or_source", _("campaign or source")
        CAMPAIGN = "utm_campaign", "utm_campaign"
        SOURCE = "utm_source", "utm_source"
        MEDIUM = "utm_medium", "utm_medium"
        CONTENT = "utm_content", "utm_content"
        TERM = "utm_term", "utm_term"

    class Match(models.TextChoices):
        CONTAINS = "contains", _("contains")
        EQUALS = "equals", _("equals")
        STARTS_WITH = "starts_with", _("starts with")

    order = models.PositiveIntegerField(_("order"), default=0)
    targetologist = models.ForeignKey(
        Targetologist, on_delete=models.PROTECT, related_name="rules", verbose_name=_("targetologist")
    )
    field = models.CharField(_("field"), max_length=18, choices=Field, default=Field.CAMPAIGN_OR_SOURCE)
    match = models.CharField(_("match"), max_length=11, choices=Match, default=Match.CONTAINS)
    pattern = models.CharField(
        _("pattern"),
        max_length=200,
        help_text=_("Capital letters, ё and how many spaces there are make no difference."),
    )
    funnel = models.ForeignKey(
        Funnel,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("funnel"),
        help_text=_("Of the sales that it attributes. Empty: what the campaign's name says."),
    )
    active = models.BooleanField(_("active"), default=True)

    class Meta:
        db_table = "attribution_rules"
        ordering = ["order", "id"]
        verbose_name = _("attribution rule")
        verbose_name_plural = _("attribution rules")
        # Spaces alone would be found in everything.
        constraints = [models.CheckConstraint(condition=Q(pattern__regex=r"\S"), name="rule_pattern_not_empty")]

    def __str__(self) -> str:
        return f"{self.get_field_display()} {self.get_match_display()} «{self.pattern}»"


class SaleFields(models.Model):
    """What the old and the new sales table both say of a sale."""

    lead_id = models.BigIntegerField(_("deal"))
    lead_name = models.TextField(_("deal name"), blank=True, default="")
    sale_amount = models.DecimalField(
        _("amount"), max_digits=14, decimal_places=0, null=True, blank=True, help_text=_("Empty: not known yet.")
    )
    utm_source = models.TextField(_("utm_source"), blank=True, default="")
    utm_medium = models.TextField(_("utm_medium"), blank=True, default="")
    utm_campaign = models.TextField(_("utm_campaign"), blank=True, default="")
    utm_content = models.TextField(_("utm_content"), blank=True, default="")
    utm_term = models.TextField(_("utm_term"), blank=True, default="")
    targetologist = models.ForeignKey(
        Targetologist,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        db_column="targetologist",
        db_index=False,  # sale_targetologist begins with it; messages are found by their sale and chat
        verbose_name=_("targetologist"),
    )
    sale_date = models.DateTimeField(_("sale date"))

    class Meta:
        abstract = True


class Sale(SaleFields):
    """One won deal of a watched pipeline. Never deleted: taken back is `reversed`."""

    class State(models.TextChoices):
        WON = "won", _("Won")
        REVERSED = "reversed", _("Taken back")

    class Channel(models.TextChoices):
        TARGETOLOGIST = "targetologist", _("Targetologist")
        REFERRAL = "referral", _("Referral")
        UNKNOWN = "unknown", _("Unknown ❓")

    lead_id = models.BigIntegerField(_("deal"), unique=True)
    currency = models.CharField(_("currency"), max_length=3, default="KZT")
    pipeline_id = models.BigIntegerField(_("pipeline"), help_text=_("Where it was won."))
    status_id = models.BigIntegerField(_("stage"), null=True, blank=True)
    channel = models.CharField(_("channel"), max_length=13, choices=Channel)
    matched_rule = models.ForeignKey(
        AttributionRule,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        db_index=False,  # nobody looks for it
        verbose_name=_("matched rule"),
    )
    matched_field = models.CharField(_("matched field"), max_length=12, blank=True, default="")
    matched_text = models.CharField(_("matched text"), max_length=200, blank=True, default="")
    funnel_type = models.CharField(_("funnel"), max_length=20)
    state = models.CharField(_("state"), max_length=8, choices=State)
    moved = models.BooleanField(_("moved"), default=False, help_text=_("To another pipeline after the win."))
    win_number = models.PositiveSmallIntegerField(_("win number"), default=1)
    created_at = models.DateTimeField(_("created at"), db_default=Now())
    updated_at = models.DateTimeField(_("updated at"), db_default=Now())

    class Meta:
        db_table = "all_sales_tracking"
        verbose_name = _("sale")
        verbose_name_plural = _("sales")
        indexes = [
            models.Index("sale_date", name="sale_date"),  # dashboards: a period
            models.Index("targetologist", "sale_date", name="sale_targetologist"),  # a targetologist's own page
            models.Index("created_at", name="sale_created"),  # "the latest five"
            # The queue of those that nobody has.
            models.Index("sale_date", condition=Q(channel="unknown", state="won"), name="sale_unattributed"),
        ]

    def __str__(self) -> str:
        return f"{self.lead_id} {self.lead_name}".strip()


class SalesNotification(SaleFields, OutboxMessage):
    """A message about one win of a deal to one chat: the outbox, and the old table that reports read."""

    class Kind(models.TextChoices):
        SALE = "sale", _("Sale")
        TAKEN_BACK = "taken_back", _("Sale taken back")
        RESTORED = "restored", _("Sale restored")

    separator = "\n"
    sale_read: Sale | None  # what messages.read_sales read ahead

    kind = models.CharField(_("kind"), max_length=12, choices=Kind, default=Kind.SALE)
    # Of the deal, whatever its pipelines; a restored win that is told again has the next one (traffic/told.py).
    win_number = models.PositiveSmallIntegerField(_("win number"), default=1)

    class Meta(OutboxMessage.Meta):
        abstract = False
        db_table = "sales_notifications"
        verbose_name = _("sale notification")
        verbose_name_plural = _("sale notifications")
        constraints = [
            # One message per fact (law 8).
            models.UniqueConstraint(
                fields=["lead_id", "chat", "kind", "win_number"], name="sale_notification_unique", nulls_distinct=False
            ),
        ]

    def __str__(self) -> str:
        return f"{self.lead_id} {self.get_kind_display()} {self.win_number}"

    @classmethod
    def read_ahead(cls, rows: Sequence[Self]) -> None:
        """Read the sales of these messages."""
        from traffic import messages

        messages.read_sales(rows)

    def render(self) -> str:
        """Return the message as it stands now: what the sale says at the moment of sending."""
        from traffic import messages

        return messages.message(self)

    def brief(self) -> str:
        """Return the message in a line."""
        from traffic import messages

        return messages.line(self)

    @classmethod
    def heading(cls, count: int) -> str:
        """Return what stands above the lines of several messages."""
        from traffic import messages

        return messages.heading(count)

    def reply_to(self, chat_id: int) -> int | None:
        """Return the number of the message that told of the sale, if this takes it back or restores it."""
        from traffic import messages

        return messages.original_in(self, chat_id)


from traffic.dashboard_models import AdSpend as AdSpend  # noqa: E402
from traffic.dashboard_models import SaleDayBuilt as SaleDayBuilt  # noqa: E402
from traffic.dashboard_models import SaleDayChange as SaleDayChange  # noqa: E402
from traffic.dashboard_models import SaleDayTotal as SaleDayTotal  # noqa: E402
from traffic.dashboard_models import SaleLineTotal as SaleLineTotal  # noqa: E402
from traffic.dashboard_models import SaleMonthTotal as SaleMonthTotal  # noqa: E402
