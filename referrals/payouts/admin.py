"""Batches, payouts, bank details and the checks of the ledger, for the referral manager."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.contrib.postgres.aggregates import ArrayAgg
from django.db.models import Count, Q, QuerySet, Sum
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from onai_project.admin_base import DayRangeFilter, PanelAdmin, ReadOnlyAdmin, choice_label, label, money
from onai_project.periods import today
from referrals.payouts import batches, views, wording
from referrals.payouts.forms import BankDetailsForm, BatchForm
from referrals.payouts.models import BankDetails, LedgerCheck, Payout, PayoutBatch

LIVE = ~Q(payouts__state=Payout.State.VOID)


@admin.register(PayoutBatch)
class PayoutBatchAdmin(PanelAdmin):
    form = BatchForm
    list_display = ("number", "cutoff", "status", "people", "total", "paid", "created_by")
    list_filter = (("created_at", DayRangeFilter), "state")
    list_select_related = ("created_by",)
    ordering = ("-pk",)
    fields = (("cutoff", "minimum"),)

    @display(description=_("batch"), ordering="pk")
    def number(self, batch: PayoutBatch) -> str:
        return str(batch)

    @display(description=_("state"))
    def status(self, batch: Any) -> str:
        colour, text = wording.batch_status(batch, set(batch.states or ()))
        return label(text, colour)

    @display(description=_("payouts"))
    def people(self, batch: Any) -> int:
        return int(batch.count)

    @display(description=_("sum"))
    def total(self, batch: Any) -> str:
        return money(batch.sum or Decimal(0))

    @display(description=_("paid"))
    def paid(self, batch: Any) -> str:
        return money(batch.sum_paid or Decimal(0))

    def get_queryset(self, request: HttpRequest) -> QuerySet[PayoutBatch]:
        queryset: QuerySet[PayoutBatch] = super().get_queryset(request)
        return queryset.annotate(
            count=Count("payouts", filter=LIVE),
            sum=Sum("payouts__amount", filter=LIVE),
            sum_paid=Sum("payouts__amount", filter=Q(payouts__state=Payout.State.PAID)),
            states=ArrayAgg("payouts__state", distinct=True, filter=Q(payouts__isnull=False)),
        )

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"cutoff": today(), "minimum": settings.REFERRAL_PAYOUT_MINIMUM}

    def save_model(self, request: HttpRequest, obj: PayoutBatch, form: Any, change: bool) -> None:
        """Make the draft; nothing else is ever saved by this form."""
        made = batches.batch_create(cutoff=obj.cutoff, minimum=obj.minimum, by=request.user)  # type: ignore[arg-type]
        obj.pk, obj.created_by, obj.created_at = made.pk, made.created_by, made.created_at

    def response_add(self, request: HttpRequest, obj: PayoutBatch, post_url_continue: Any = None) -> HttpResponse:
        return HttpResponseRedirect(reverse("admin:payouts_payoutbatch_change", args=[obj.pk]))

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show the batch: it is worked on by buttons, not by a form."""
        return views.batch_page(request, views.number_of(object_id))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        return [
            path("<int:pk>/confirm/", view(views.batch_confirm), name="payouts_payoutbatch_confirm"),
            path("<int:pk>/void/", view(views.batch_void), name="payouts_payoutbatch_void"),
            path("<int:pk>/paid/", view(views.batch_paid), name="payouts_payoutbatch_paid"),
            path("<int:pk>/results/", view(views.batch_results), name="payouts_payoutbatch_results"),
            path("<int:pk>/bank.csv", view(views.batch_file), {"kind": "csv"}, name="payouts_payoutbatch_csv"),
            path("<int:pk>/bank.xlsx", view(views.batch_file), {"kind": "xlsx"}, name="payouts_payoutbatch_xlsx"),
            *super().get_urls(),
        ]


@admin.register(Payout)
class PayoutAdmin(ReadOnlyAdmin):
    list_display = ("number", "referrer", "sum", "state_label", "paid_on", "batch_link", "created_at")
    list_filter = (("created_at", DayRangeFilter), "state")
    list_select_related = ("referrer", "batch")
    search_fields = ("=id", "referrer__code", "referrer__name", "recipient")
    search_help_text = _("Number, referrer or recipient")
    ordering = ("-pk",)
    state_label = choice_label("state", views.STATE_COLOURS, _("state"))

    @display(description=_("payout"), ordering="pk")
    def number(self, payout: Payout) -> str:
        return str(payout)

    @display(description=_("amount"), ordering="amount")
    def sum(self, payout: Payout) -> str:
        return money(payout.amount)

    @display(description=_("batch"), ordering="batch")
    def batch_link(self, payout: Payout) -> str:
        url = reverse("admin:payouts_payoutbatch_change", args=[payout.batch_id])
        return format_html('<a class="panel-link" href="{}">{}</a>', url, payout.batch)

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show the payout: it is worked on by buttons, not by a form."""
        return views.payout_page(request, views.number_of(object_id))

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        changes = [
            path(f"<int:pk>/{to}/", view(views.payout_change), {"to": to}, name=f"payouts_payout_{to}")
            for to in ("paid", "failed", "void")
        ]
        return [
            path("<int:pk>/statement/", view(views.payout_statement), name="payouts_payout_statement"),
            *changes,
            *super().get_urls(),
        ]


@admin.register(BankDetails)
class BankDetailsAdmin(PanelAdmin):
    form = BankDetailsForm
    list_display = ("referrer", "recipient", "account", "iin", "updated_at")
    list_select_related = ("referrer",)
    search_fields = ("referrer__code", "referrer__name", "recipient", "account", "iin")
    search_help_text = _("Referrer, recipient, account or IIN")
    ordering = ("recipient",)
    fields = ("referrer", ("recipient", "iin"), "account")
    autocomplete_fields = ("referrer",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Keep whose they are."""
        return ("referrer",) if obj else ()


@admin.register(LedgerCheck)
class LedgerCheckAdmin(ReadOnlyAdmin):
    list_display = ("started_at", "outcome", "duration")
    ordering = ("-pk",)

    @display(description=_("result"))
    def outcome(self, check: LedgerCheck) -> str:
        if not check.wrong:
            return label(gettext("All is well"), "success")
        return label(gettext("Wrong: %(count)d") % {"count": check.wrong}, "danger")

    @display(description=_("seconds"), ordering="seconds")
    def duration(self, check: LedgerCheck) -> str:
        return f"{check.seconds:.1f}".replace(".", ",")

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show the findings."""
        return views.check_page(request, views.number_of(object_id))

    def get_urls(self) -> list[Any]:
        run = path("run/", self.admin_site.admin_view(views.check_run), name="payouts_ledgercheck_run")
        return [run, *super().get_urls()]
