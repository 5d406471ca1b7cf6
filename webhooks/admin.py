"""The inbox as people see it: deliveries with their raw bodies, what each event led to, and the state of the deals."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from unfold.admin import TabularInline
from unfold.decorators import action, display

from onai_project.admin_base import (
    EMPTY,
    DayRangeFilter,
    ReadOnlyAdmin,
    UncountedAdmin,
    choice_label,
    deal_link,
    lead_number,
    list_link,
    moment,
    money,
    preformatted,
    pretty_json,
    reason_text,
)
from webhooks import inbox
from webhooks.amocrm import admin as amocrm_admin  # noqa: F401
from webhooks.models import Counter, Deal, DealTransition, Heartbeat, WebhookDelivery, WebhookLog, WebhookRefusal

# More of a body than this is shown to nobody's use; the largest real one that we know has 20 kB.
SHOWN_BYTES = 64 * 1024

DECISION_COLOURS = {"traffic": "primary", "referral": "info", "both": "warning", "unknown": "danger", "ignored": ""}
RESULT_COLOURS = {"success": "success", "ignored": "", "error": "danger", "partial": "warning"}
SOURCE_COLOURS = {
    "amocrm_traffic": "primary",
    "amocrm_referral": "info",
    "amocrm": "",
    "amocrm_api": "warning",
    "import": "success",
}
STATUS_COLOURS = {"received": "info", "processed": "success", "failed": "warning", "dead": "danger", "invalid": ""}


def shown(text: str, total: int) -> SafeString | str:
    """Return the text in a box, with a line that says so when it is only the beginning of `total` bytes."""
    if total <= SHOWN_BYTES:
        return preformatted(text)
    note = gettext("Only the first %(shown)d of %(total)d bytes are shown.") % {"shown": SHOWN_BYTES, "total": total}
    return format_html("<p>{}</p>{}", note, preformatted(text))


def readable_body(body: bytes) -> str:
    """Return a body as a person reads it: JSON indented, a form as one decoded `name = value` a line."""
    text = body.decode("utf-8", errors="replace")
    if text.lstrip().startswith(("{", "[")):
        try:
            return json.dumps(json.loads(text), ensure_ascii=False, indent=2)
        except ValueError:
            return text
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="replace")
    except ValueError:
        return text
    return "\n".join(f"{name} = {value}" for name, value in pairs) or text


class LogInline(TabularInline):
    """What the events of one delivery said and what became of them."""

    model = WebhookLog
    ordering = ("index",)
    extra = 0
    can_delete = False
    show_change_link = True
    fields = readonly_fields = ("action", "deal", "pipeline_id", "status_id", "decision", "result", "reason")
    hide_title = True
    verbose_name_plural = _("What it said")
    decision = choice_label("routing_decision", DECISION_COLOURS, _("decision"))
    result = choice_label("processing_status", RESULT_COLOURS, _("result"))

    @display(description=_("deal"))
    def deal(self, log: WebhookLog) -> str:
        return deal_link(log.lead_id)

    @display(description=_("reason"))
    def reason(self, log: WebhookLog) -> str:
        return reason_text(log.error_message)

    def get_queryset(self, request: HttpRequest) -> QuerySet[WebhookLog]:
        rows: QuerySet[WebhookLog] = super().get_queryset(request)
        return rows.defer("deal_data")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(UncountedAdmin):
    list_display = ("id", "received", "source_label", "status_label", "attempts", "reason", "processed_at")
    list_filter = (("received_at", DayRangeFilter), "source", "status")
    search_fields = ("id",)
    search_help_text = _("Deal or delivery number")
    ordering = ("-id",)
    sortable_by = ()
    actions = ("process_again",)
    actions_detail = ("process_this_again",)
    inlines = (LogInline,)
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("received", "source_label"),
                    ("status_label", "attempts"),
                    ("processed_at", "next_attempt_at"),
                    "reason",
                )
            },
        ),
        (_("Body"), {"fields": ("body_readable", "body_bytes")}),
        (_("Request"), {"fields": ("content_type", "query", "remote_addr", "headers_readable")}),
    )
    source_label = choice_label("source", SOURCE_COLOURS, _("source"))
    status_label = choice_label("status", STATUS_COLOURS, _("status"))

    @display(description=_("received at"), ordering="received_at")
    def received(self, delivery: WebhookDelivery) -> str:
        return moment(delivery.received_at)

    @display(description=_("error"))
    def reason(self, delivery: WebhookDelivery) -> str:
        return reason_text(delivery.error_message)

    @display(description=_("body, decoded"))
    def body_readable(self, delivery: WebhookDelivery) -> str:
        if delivery.body is None:
            return str(_("Dropped: it was older than WEBHOOK_BODY_DAYS."))
        body = bytes(delivery.body)
        return shown(readable_body(body[:SHOWN_BYTES]), len(body))

    @display(description=_("body, as bytes"))
    def body_bytes(self, delivery: WebhookDelivery) -> str:
        body = bytes(delivery.body or b"")
        return shown(repr(body[:SHOWN_BYTES]), len(body))

    @display(description=_("headers"))
    def headers_readable(self, delivery: WebhookDelivery) -> str:
        return pretty_json(delivery.headers)

    def get_queryset(self, request: HttpRequest) -> QuerySet[WebhookDelivery]:
        rows: QuerySet[WebhookDelivery] = super().get_queryset(request)
        return rows.defer("body", "headers")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[WebhookDelivery], search_term: str
    ) -> tuple[QuerySet[WebhookDelivery], bool]:
        """Find by the number of a deal in it or by its own number; both through an index."""
        if not search_term:
            return queryset, False
        number = lead_number(search_term)
        if number is None:
            return queryset.none(), False
        ids = list(WebhookLog.objects.filter(lead_id=number).values_list("delivery_id", flat=True))
        return queryset.filter(pk__in=[number, *ids]), False

    def has_process_again_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return request.user.has_perm("webhooks.change_webhookdelivery")

    @action(description=_("Process again"), permissions=["process_again"])
    def process_again(self, request: HttpRequest, queryset: QuerySet[WebhookDelivery]) -> None:
        self._process_again(request, list(queryset.values_list("pk", flat=True)))

    @action(
        description=_("Process again"),
        permissions=["process_again"],
        icon="replay",
        dialog={
            "title": _("Process this delivery again?"),
            "description": _("Its deals get the same state as before; nothing is counted or sent twice."),
            "form_class": None,
            "form_submit_text": _("Process again"),
        },
    )
    def process_this_again(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        self._process_again(request, [int(object_id)])
        return HttpResponse(headers={"HX-Refresh": "true"})

    def _process_again(self, request: HttpRequest, ids: list[int]) -> None:
        count = inbox.process_again(ids)
        message = ngettext(
            "%(count)d delivery will be processed again at once.",
            "%(count)d deliveries will be processed again at once.",
            count,
        )
        self.message_user(request, message % {"count": count}, messages.SUCCESS)


class ByLeadAdmin(UncountedAdmin):
    """History that people look for by the number of a deal."""

    search_fields = ("lead_id",)
    search_help_text = _("Deal number")
    sortable_by = ()

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find by the deal's number, exactly, so that the index serves it."""
        if not search_term:
            return queryset, False
        number = lead_number(search_term)
        return (queryset.none() if number is None else queryset.filter(lead_id=number)), False

    @display(description="AmoCRM")
    def deal(self, row: Any) -> str:
        return deal_link(row.lead_id)


@admin.register(WebhookLog)
class WebhookLogAdmin(ByLeadAdmin):
    list_display = (
        "received",
        "source_label",
        "action",
        "deal",
        "decision",
        "result",
        "reason",
        "utm_source",
        "utm_campaign",
    )
    list_filter = (("received_at", DayRangeFilter), "source", "routing_decision", "processing_status")
    ordering = ("-id",)
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("received", "processed_at"),
                    ("source_label", "delivery_link"),
                    ("action", "index"),
                    ("deal", "stage"),
                    ("decision", "result"),
                    "reason",
                    ("utm_source", "utm_campaign"),
                )
            },
        ),
        (_("deal data"), {"fields": ("deal_data_readable",)}),
    )
    source_label = choice_label("source", SOURCE_COLOURS, _("source"))
    decision = choice_label("routing_decision", DECISION_COLOURS, _("decision"))
    result = choice_label("processing_status", RESULT_COLOURS, _("result"))

    @display(description=_("received at"), ordering="received_at")
    def received(self, log: WebhookLog) -> str:
        return moment(log.received_at)

    @display(description=_("pipeline / stage"))
    def stage(self, log: WebhookLog) -> str:
        return f"{log.pipeline_id or EMPTY} / {log.status_id or EMPTY}"

    @display(description=_("reason"))
    def reason(self, log: WebhookLog) -> str:
        return reason_text(log.error_message)

    @display(description=_("delivery"))
    def delivery_link(self, log: WebhookLog) -> str:
        return list_link("webhooks_webhookdelivery", f"q={log.delivery_id}", f"#{log.delivery_id}")

    @display(description=_("deal data"))
    def deal_data_readable(self, log: WebhookLog) -> str:
        return pretty_json(log.deal_data)

    def get_queryset(self, request: HttpRequest) -> QuerySet[WebhookLog]:
        rows: QuerySet[WebhookLog] = super().get_queryset(request)
        return rows.defer("deal_data")


@admin.register(Deal)
class DealAdmin(ByLeadAdmin):
    list_display = (
        "lead_id",
        "name",
        "price_shown",
        "pipeline_id",
        "status_id",
        "utm_source",
        "utm_campaign",
        "won_at",
        "is_deleted",
        "needs_check",
        "deal",
    )
    list_filter = (("won_at", DayRangeFilter), "is_deleted", "needs_check")
    ordering = ("-lead_id",)
    fieldsets = (
        (None, {"fields": (("lead_id", "deal"), "name", ("price_shown", "contact_id"), "history")}),
        (
            _("State"),
            {
                "fields": (
                    ("pipeline_id", "status_id"),
                    ("closed_at", "won_at"),
                    ("is_deleted", "needs_check"),
                    "updated_at",
                )
            },
        ),
        (
            "UTM",
            {
                "fields": (
                    ("utm_source", "utm_medium"),
                    ("utm_campaign", "utm_content"),
                    ("utm_term", "utm_referrer"),
                    "fbclid",
                )
            },
        ),
        (
            _("merge state"),
            {"classes": ("collapse",), "fields": ("wins_readable", "past_wins_readable", "merge_readable")},
        ),
    )

    @display(description=_("price"))
    def price_shown(self, deal: Deal) -> str:
        return money(deal.price)

    @display(description=_("standing wins"))
    def wins_readable(self, deal: Deal) -> str:
        return pretty_json(deal.wins)

    @display(description=_("wins taken back"))
    def past_wins_readable(self, deal: Deal) -> str:
        return pretty_json(deal.past_wins)

    @display(description=_("merge state"))
    def merge_readable(self, deal: Deal) -> str:
        return pretty_json(deal.merge)

    @display(description=_("history"))
    def history(self, deal: Deal) -> str:
        query = f"q={deal.lead_id}"
        return format_html(
            "{} · {} · {}",
            list_link("webhooks_webhooklog", query, _("webhook log")),
            list_link("webhooks_webhookdelivery", query, _("deliveries")),
            list_link("webhooks_dealtransition", query, _("stages of deals")),
        )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Deal]:
        rows: QuerySet[Deal] = super().get_queryset(request)
        return rows.defer("merge", "wins", "past_wins")


@admin.register(DealTransition)
class DealTransitionAdmin(ByLeadAdmin):
    list_display = ("lead_id", "at", "timed", "pipeline_id", "status_id", "rank", "delivery_link", "seen_at", "deal")
    list_filter = (("seen_at", DayRangeFilter), "timed")
    ordering = ("-id",)
    fields = (
        ("lead_id", "deal"),
        ("at", "timed"),
        ("pipeline_id", "status_id"),
        "rank",
        ("delivery_link", "index"),
        "seen_at",
    )

    @display(description=_("delivery"))
    def delivery_link(self, row: DealTransition) -> str:
        return list_link("webhooks_webhookdelivery", f"q={row.delivery_id}", f"#{row.delivery_id}")


@admin.register(WebhookRefusal)
class WebhookRefusalAdmin(ReadOnlyAdmin):
    list_display = ("hour", "source", "reason", "count")
    list_filter = (("hour", DayRangeFilter), "source", "reason")
    ordering = ("-hour", "source")


@admin.register(Counter)
class CounterAdmin(ReadOnlyAdmin):
    list_display = ("name", "source", "outcome", "value")


@admin.register(Heartbeat)
class HeartbeatAdmin(ReadOnlyAdmin):
    list_display = ("name", "seen_at")
