"""Sales and the messages about them (read-only), and targetologists; rules and what goes with them beside it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from notifications.admin import MESSAGE_COLOURS
from notifications.resending import ResendMixin
from onai_project.admin_base import (
    EMPTY,
    DayRangeFilter,
    DealSearch,
    PanelAdmin,
    UncountedAdmin,
    choice_label,
    deal_link,
    list_link,
    money,
    reason_text,
)
from traffic import digest_admin  # noqa: F401
from traffic.dashboard import notifications_visible_to, sales_visible_to
from traffic.models import Sale, SalesNotification, Targetologist
from traffic.reattribution import admin as reattribution_admin  # noqa: F401
from traffic.rules import admin as rules_admin  # noqa: F401
from traffic.rules.sale_pages import SaleWhyMixin
from traffic.spend import admin as spend_admin  # noqa: F401

STATE_COLOURS = {"won": "success", "reversed": "danger"}
CHANNEL_COLOURS = {"targetologist": "primary", "referral": "info", "unknown": "warning"}


class AmountFilter(admin.SimpleListFilter):
    """Sales that lack an amount are for a person to complete in AmoCRM."""

    title = _("amount")
    parameter_name = "amount"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("known", _("Known")), ("unknown", _("Not known"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() in ("known", "unknown"):
            return queryset.filter(sale_amount__isnull=self.value() == "unknown")
        return queryset


@admin.register(Sale)
class SaleAdmin(SaleWhyMixin, DealSearch, UncountedAdmin):
    list_display = (
        "sale_date",
        "name",
        "amount",
        "targetologist",
        "channel_label",
        "utm_campaign",
        "utm_source",
        "state_label",
        "deal",
    )
    list_display_links = ("sale_date", "name")
    list_filter = (("sale_date", DayRangeFilter), "state", "channel", AmountFilter, "targetologist")
    list_select_related = ("targetologist",)
    search_fields = ("lead_name", "utm_campaign")
    search_help_text = _("Deal number, name or campaign")
    ordering = ("-sale_date",)
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("name", "deal"),
                    ("sale_date", "amount"),
                    ("state_label", "win_number"),
                    ("pipeline_id", "status_id"),
                    "moved",
                    "history",
                )
            },
        ),
        (
            _("Attribution"),
            {"fields": (("channel_label", "targetologist"), "why")},
        ),
        ("UTM", {"fields": (("utm_source", "utm_medium"), ("utm_campaign", "utm_content"), "utm_term")}),
        (_("Record"), {"fields": (("created_at", "updated_at"),)}),
    )
    channel_label = choice_label("channel", CHANNEL_COLOURS, _("channel"))
    state_label = choice_label("state", STATE_COLOURS, _("state"))

    @display(description=_("deal name"), ordering="lead_name")
    def name(self, sale: Sale) -> str:
        return sale.lead_name or EMPTY

    @display(description=_("amount"), ordering="sale_amount")
    def amount(self, sale: Sale) -> str:
        return money(sale.sale_amount)

    @display(description="AmoCRM")
    def deal(self, sale: Sale) -> str:
        return deal_link(sale.lead_id)

    @display(description=_("history"))
    def history(self, sale: Sale) -> str:
        query = f"q={sale.lead_id}"
        return list_link("traffic_salesnotification", query, _("sale notifications"))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Sale]:
        """Return only what this person may see, so that no page, search or guessed address shows more."""
        return sales_visible_to(request.user)

    def get_list_filter(self, request: HttpRequest) -> Any:
        filters = super().get_list_filter(request)
        if request.user.has_perm("traffic.view_all_sales"):
            return filters
        return [one for one in filters if one not in ("targetologist", "channel")]


@admin.register(SalesNotification)
class SalesNotificationAdmin(DealSearch, ResendMixin, UncountedAdmin):
    list_display = (
        "created_at",
        "name",
        "kind",
        "amount",
        "targetologist",
        "chat_shown",
        "status_label",
        "notified_at",
        "problem",
    )
    list_display_links = ("created_at", "name")
    list_filter = (("created_at", DayRangeFilter), "notification_status", "kind", "targetologist", "chat")
    list_select_related = ("targetologist", "chat")
    search_fields = ("lead_name", "utm_campaign")
    search_help_text = _("Deal number, name or campaign")
    ordering = ("-id",)
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("name", "deal"),
                    ("sale_date", "amount"),
                    ("kind", "win_number"),
                    "targetologist",
                )
            },
        ),
        (
            _("Sending"),
            {
                "fields": (
                    ("status_label", "chat_shown"),
                    ("attempts", "next_attempt_at"),
                    ("notified_at", "telegram_message_id"),
                    "problem",
                    "created_at",
                )
            },
        ),
        ("UTM", {"fields": (("utm_source", "utm_medium"), ("utm_campaign", "utm_content"), "utm_term")}),
    )
    status_label = choice_label("notification_status", MESSAGE_COLOURS, _("status"))

    @display(description=_("deal name"), ordering="lead_name")
    def name(self, message: SalesNotification) -> str:
        return message.lead_name or EMPTY

    @display(description=_("amount"), ordering="sale_amount")
    def amount(self, message: SalesNotification) -> str:
        return money(message.sale_amount)

    @display(description="AmoCRM")
    def deal(self, message: SalesNotification) -> str:
        return deal_link(message.lead_id)

    @display(description=_("chat"))
    def chat_shown(self, message: SalesNotification) -> str:
        return str(message.chat) if message.chat else str(_("Common"))

    @display(description=_("error"))
    def problem(self, message: SalesNotification) -> str:
        return reason_text(message.error)

    def get_queryset(self, request: HttpRequest) -> QuerySet[SalesNotification]:
        """Return only the messages about sales that this person may see."""
        return notifications_visible_to(request.user)

    def get_list_filter(self, request: HttpRequest) -> Any:
        filters = super().get_list_filter(request)
        if request.user.has_perm("traffic.view_all_sales"):
            return filters
        return [one for one in filters if one not in ("targetologist", "chat")]


@admin.register(Targetologist)
class TargetologistAdmin(PanelAdmin):
    list_display = ("__str__", "user", "chat", "active", "order", "sales")
    list_select_related = ("user", "chat")
    fields = (("name", "emoji"), "slug", ("user", "chat"), ("active", "order"))

    @display(description=_("sales"))
    def sales(self, person: Targetologist) -> str:
        url = reverse("admin:traffic_sale_changelist")
        return format_html(
            '<a href="{}?targetologist__slug__exact={}" class="panel-link">{}</a>', url, person.slug, _("Show")
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Targetologist | None = None) -> tuple[str, ...]:
        """Keep the slug: sales refer to it."""
        return ("slug",) if obj else ()
