"""Referrers and commission plans, for the referral manager to keep; conversions and the ledger, to read."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.admin import TabularInline
from unfold.decorators import display

from onai_project.admin_base import (
    EMPTY,
    DayRangeFilter,
    PanelAdmin,
    ReadOnlyAdmin,
    choice_label,
    deal_link,
    label,
    list_link,
    money,
    reason_text,
)
from referrals import ledger
from referrals.dashboard import with_balance
from referrals.models import CommissionPlan, Conversion, Earning, Referrer
from referrals.status import COLOURS, Status, conversion_status, status_sentence

STATE_COLOURS = {"won": "success", "reversed": "danger"}
KIND_COLOURS = {"accrual": "success", "reversal": "danger", "adjustment": "warning"}


def delivery_link(delivery_id: int | None) -> str:
    """Return a link to the delivery that led to an entry."""
    if delivery_id is None:
        return EMPTY
    return list_link("webhooks_webhookdelivery", f"id__exact={delivery_id}", f"№ {delivery_id}")


class EarningInline(TabularInline):
    """The ledger entries of one conversion."""

    model = Earning
    ordering = ("seq",)
    extra = 0
    can_delete = False
    hide_title = True
    fields = readonly_fields = ("seq", "created_at", "kind_label", "sum", "referrer", "why")
    kind_label = choice_label("kind", KIND_COLOURS, _("kind"))

    @display(description=_("amount"))
    def sum(self, entry: Earning) -> str:
        return money(entry.amount)

    @display(description=_("reason"))
    def why(self, entry: Earning) -> str:
        return reason_text(entry.reason)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Conversion)
class ConversionAdmin(ReadOnlyAdmin):
    list_display = ("sale_date", "name", "amount", "referrer", "utm_source", "state_label", "payout", "deal")
    list_display_links = ("sale_date", "name")
    list_filter = (("sale_date", DayRangeFilter), "state", "referrer__claimed", "referrer__active")
    list_select_related = ("referrer",)
    search_fields = ("=lead_id", "lead_name", "utm_source", "referrer__name")
    search_help_text = _("Deal number, name or referrer")
    ordering = ("-sale_date",)
    inlines = (EarningInline,)
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("name", "deal"),
                    ("sale_date", "amount"),
                    ("referrer", "utm_source"),
                    ("state_label", "pipeline_id"),
                    "moved",
                )
            },
        ),
        (_("Commission"), {"fields": (("plan", "available_at"), "payout")}),
        (_("Record"), {"fields": (("created_at", "updated_at"),)}),
    )
    state_label = choice_label("state", STATE_COLOURS, _("state"))

    @display(description=_("deal name"), ordering="lead_name")
    def name(self, conversion: Conversion) -> str:
        return conversion.lead_name or EMPTY

    @display(description=_("amount"), ordering="sale_amount")
    def amount(self, conversion: Conversion) -> str:
        return money(conversion.sale_amount)

    @display(description=_("commission"))
    def payout(self, conversion: Any) -> str:
        return label(status_sentence(conversion.status, conversion), COLOURS[Status(conversion.status)])

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        conversions: QuerySet[Conversion] = super().get_queryset(request)
        return conversions.annotate(status=conversion_status(timezone.now()))

    @display(description="AmoCRM")
    def deal(self, conversion: Conversion) -> str:
        return deal_link(conversion.lead_id)


@admin.register(Earning)
class EarningAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "referrer", "kind_label", "sum", "why", "conversion_link")
    list_filter = (("created_at", DayRangeFilter), "kind")
    list_select_related = ("referrer", "conversion")
    search_fields = ("=conversion__lead_id", "referrer__code", "referrer__name")
    search_help_text = _("Deal number or referrer")
    ordering = ("-id",)
    fields = (
        ("referrer", "conversion_link"),
        ("seq", "created_at"),
        ("kind_label", "sum"),
        ("why", "available_at"),
        ("source", "by"),
    )
    kind_label = choice_label("kind", KIND_COLOURS, _("kind"))

    @display(description=_("delivery"))
    def source(self, entry: Earning) -> str:
        return delivery_link(entry.delivery_id)

    @display(description=_("amount"), ordering="amount")
    def sum(self, entry: Earning) -> str:
        return money(entry.amount)

    @display(description=_("reason"))
    def why(self, entry: Earning) -> str:
        return reason_text(entry.reason)

    @display(description=_("conversion"))
    def conversion_link(self, entry: Earning) -> str:
        lead_id = entry.conversion.lead_id
        return list_link("referrals_conversion", f"q={lead_id}", lead_id)


class ReferrerForm(forms.ModelForm):  # type: ignore[type-arg]
    """Checks a code in words that tell what to do, where the database would only refuse it."""

    def clean_code(self) -> str:
        """Return the code in lower case, as hooks are matched."""
        code: str = self.cleaned_data["code"].strip().lower()
        if not code.startswith("ref_") or code == "ref_":
            raise forms.ValidationError(_("A code begins with ref_, for example ref_aigerim."))
        return code


@admin.register(Referrer)
class ReferrerAdmin(PanelAdmin):
    form = ReferrerForm
    list_display = ("code", "name", "claimed_label", "active", "conversions", "balance", "created_at")
    list_filter = ("claimed", "active")
    search_fields = ("code", "name", "phone", "email")
    search_help_text = _("Code, name, phone or e-mail")
    fields = ("code", "name", ("phone", "email"), ("claimed", "active"), ("balance", "conversions"), "created_at")
    ordering = ("code",)

    @display(description=_("claimed"), ordering="claimed")
    def claimed_label(self, referrer: Referrer) -> str:
        return label(gettext("Claimed"), "success") if referrer.claimed else label(gettext("Not claimed"), "warning")

    @display(description=_("balance"), ordering="balance")
    def balance(self, referrer: Any) -> str:
        return money(getattr(referrer, "balance", Decimal(0)))

    @display(description=_("conversions"), ordering="won_conversions")
    def conversions(self, referrer: Any) -> str:
        if not referrer.pk:
            return EMPTY
        return list_link("referrals_conversion", f"q={referrer.code}", referrer.won_conversions)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Referrer]:
        return with_balance(super().get_queryset(request))

    def save_model(self, request: HttpRequest, obj: Referrer, form: Any, change: bool) -> None:
        """Save, and let what this referrer earned be paid or held accordingly."""
        super().save_model(request, obj, form, change)
        ledger.release_or_hold(obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Referrer | None = None) -> tuple[str, ...]:
        """Keep the code: conversions came by it."""
        always = ("balance", "conversions", "created_at")
        return ("code", *always) if obj else always

    def get_fields(self, request: HttpRequest, obj: Referrer | None = None) -> Any:
        return self.fields if obj else ("code", "name", ("phone", "email"), ("claimed", "active"))


@admin.register(CommissionPlan)
class CommissionPlanAdmin(PanelAdmin):
    list_display = ("name", "terms", "valid_from", "valid_to")
    fields = ("name", ("kind", "value"), ("valid_from", "valid_to"))
    ordering = ("-valid_from",)

    @display(description=_("commission"))
    def terms(self, plan: CommissionPlan) -> str:
        if plan.kind == CommissionPlan.Kind.PERCENT:
            return format_html("{} %", f"{plan.value.normalize():f}".replace(".", ","))
        return money(plan.value)
