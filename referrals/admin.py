"""Conversions, to read and decide of, and the ledger, to read. Plans and referrers have modules of their own."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from unfold.admin import TabularInline
from unfold.decorators import display
from unfold.views import ChangeList

from onai_project.admin_base import (
    EMPTY,
    DayRangeFilter,
    DealSearch,
    ReadOnlyAdmin,
    choice_label,
    deal_link,
    label,
    list_link,
    money,
    reason_text,
)
from referrals import admin_plans as admin_plans
from referrals import admin_referrers as admin_referrers
from referrals.admin_decisions import buttons, decide_view
from referrals.models import UNDECIDED, Conversion, Decision, Earning, Referrer
from referrals.status import COLOURS, Status, page_with_status, status_sentence

STATE_COLOURS = {"won": "success", "reversed": "danger"}
KIND_COLOURS = {"accrual": "success", "reversal": "danger", "adjustment": "warning"}


def delivery_link(delivery_id: int | None) -> str:
    """Return a link to the delivery that led to an entry."""
    if delivery_id is None:
        return EMPTY
    return list_link("webhooks_webhookdelivery", f"id__exact={delivery_id}", f"№ {delivery_id}")


class DecisionFilter(admin.SimpleListFilter):
    """What a person has to release or reject, as the dashboard lists it."""

    title = _("decision")
    parameter_name = "decision"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("waiting", _("Waiting for a decision"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Conversion]) -> QuerySet[Conversion]:
        return queryset.filter(UNDECIDED) if self.value() else queryset


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


class DecisionInline(TabularInline):
    """What people decided of one conversion."""

    model = Decision
    ordering = ("pk",)
    extra = 0
    can_delete = False
    hide_title = True
    fields = readonly_fields = ("created_at", "kind", "sum", "reason", "by")

    @display(description=_("amount"))
    def sum(self, decision: Decision) -> str:
        return EMPTY if decision.amount is None else money(decision.amount)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class CodeSearch:
    """Search of a list by referrer: a whole code is that referrer alone, by the index, and not ref_12 for ref_1."""

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find by a referrer's code, or by what else the list is searched by."""
        referrer = Referrer.objects.filter(code=search_term.replace("\x00", "").strip().lower()).first()
        if referrer is not None:
            return queryset.filter(referrer=referrer), False
        found: tuple[QuerySet[Any], bool] = super().get_search_results(  # type: ignore[misc]
            request, queryset, search_term
        )
        return found


class ConversionList(ChangeList):
    """Asks the ledger of the conversions on the page, and of no others."""

    def get_results(self, request: HttpRequest) -> None:
        """Read the page."""
        super().get_results(request)
        self.result_list: Any = page_with_status([row.pk for row in self.result_list], timezone.now())


@admin.register(Conversion)
class ConversionAdmin(CodeSearch, DealSearch, ReadOnlyAdmin):
    change_form_before_template = "referrals/conversion_head.html"
    list_display = ("sale_date", "name", "amount", "referrer", "utm_source", "state_label", "payout", "deal")
    list_display_links = ("sale_date", "name")
    list_filter = (("sale_date", DayRangeFilter), DecisionFilter, "state", "hold_reason", "plan")
    list_select_related = ("referrer",)
    search_fields = ("lead_name", "utm_source", "referrer__name")
    search_help_text = _("Deal number, name or referrer")
    ordering = ("-sale_date",)
    inlines = (EarningInline, DecisionInline)
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("name", "deal"),
                    ("sale_date", "amount"),
                    ("referrer", "utm_source"),
                    ("utm_campaign", "campaign_owner"),
                    ("state_label", "pipeline_id"),
                    "moved",
                )
            },
        ),
        (_("Commission"), {"fields": (("plan", "available_at"), ("payout", "rejected"))}),
        (_("Record"), {"fields": (("created_at", "updated_at"),)}),
    )
    state_label = choice_label("state", STATE_COLOURS, _("state"))

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(decide_view)
        return [path("<int:pk>/decide/<str:kind>/", view, name="referrals_conversion_decide"), *super().get_urls()]

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show the conversion, with what this person may decide of it."""
        conversion = self.get_object(request, object_id)
        allowed = conversion is not None and request.user.has_perm("referrals.add_decision")
        extra = {"decisions": buttons(conversion) if allowed else [], **(kwargs.pop("extra_context", None) or {})}
        response: HttpResponse = super().change_view(request, object_id, *args, extra_context=extra, **kwargs)
        return response

    @display(description=_("deal name"), ordering="lead_name")
    def name(self, conversion: Conversion) -> str:
        return conversion.lead_name or EMPTY

    @display(description=_("amount"), ordering="sale_amount")
    def amount(self, conversion: Conversion) -> str:
        return money(conversion.sale_amount)

    @display(description=_("commission"))
    def payout(self, conversion: Any) -> str:
        return label(status_sentence(conversion.status, conversion), COLOURS[Status(conversion.status)])

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Return the conversion with its status."""
        found = super().get_object(request, object_id, from_field)
        return found and page_with_status([found.pk], timezone.now())[0]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the list that knows the status of what it shows."""
        return ConversionList

    @display(description="AmoCRM")
    def deal(self, conversion: Conversion) -> str:
        return deal_link(conversion.lead_id)


@admin.register(Earning)
class EarningAdmin(CodeSearch, ReadOnlyAdmin):
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
