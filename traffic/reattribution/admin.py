"""Re-attributions in the admin: the log of runs, a new one after its preview, its progress, its undoing."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import Count, DecimalField, F, Q, Sum
from django.db.models.functions import Cast
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils.formats import date_format
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from onai_project.admin_base import EMPTY, ReadOnlyAdmin, choice_label, list_link
from onai_project.periods import Period, parse_day, preset_period, today
from traffic.closing import first_open_day
from traffic.models import ReattributionRun, Sale, SaleOverride
from traffic.reattribution.plan import balance, owner_names, plan_reattribution
from traffic.reattribution.runs import GOING_ON, STOPPED, go_on, start_run, start_undo
from traffic.reattribution.tasks import carry_on_run, silent_since
from traffic.rules.book import current_rulebook

STATE_COLOURS = {
    "waiting": "info",
    "running": "info",
    "done": "success",
    "failed": "danger",
    "undo_failed": "danger",
    "undoing": "warning",
    "undone": "",
}
SHOWN = 50


@admin.register(ReattributionRun)
class ReattributionRunAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "period", "state_label", "moved", "author", "reason_shown")
    list_display_links = ("created_at", "period")
    list_select_related = ("author",)
    ordering = ("-pk",)
    list_before_template = "traffic/runs_head.html"
    state_label = choice_label("state", STATE_COLOURS, _("state"))

    @display(description=_("period"))
    def period(self, run: ReattributionRun) -> str:
        return f"{date_format(run.first_day, 'd.m.Y')} – {date_format(run.last_day, 'd.m.Y')}"

    @display(description=_("reason"))
    def reason_shown(self, run: ReattributionRun) -> str:
        return run.reason or EMPTY

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        """Whoever may re-attribute."""
        return request.user.has_perm("traffic.add_reattributionrun")

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Show what a new run would move; with POST, start it. The worker carries it out."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        data = request.POST if request.method == "POST" else request.GET
        period, problem = period_of(data)
        book = current_rulebook()
        if request.method == "POST" and not problem:
            if data.get("version") == str(book.version):
                run = start_run(
                    period=period, book=book, author=request.user,  # type: ignore[arg-type]
                    reason=data.get("reason", ""),
                )  # fmt: skip
                transaction.on_commit(lambda: carry_on_run.defer(run_id=run.pk))
                return redirect("admin:traffic_reattributionrun_change", run.pk)
            problem = gettext("The rules have changed meanwhile: look at what would move now.")
        plan = plan_reattribution(period, book)
        names = owner_names()
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Re-attribute old sales"),
            "period": period,
            "problem": problem,
            "plan": plan,
            "version": book.version,
            "moves": [
                (names.get(move.before, move.before), names.get(move.after, move.after), move) for move in plan.moves
            ],
            "balance": [(names.get(key, key), gets, loses) for key, gets, loses in balance(plan.moves)],
            "first_open": first_open_day(),
            "reason": data.get("reason", ""),
        }
        return TemplateResponse(request, "traffic/reattribute.html", context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show a run: how far it is, what moved; with POST, undo it or carry it on."""
        run = self.get_object(request, object_id)
        if run is None or not self.has_view_permission(request, run):
            raise PermissionDenied
        if request.method == "POST":
            return self._act(request, run)
        names = owner_names()
        goes_on = run.state in GOING_ON  # then the page is asked for every two seconds: it tells how far it is, no more
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Re-attribution %(run)s") % {"run": f"№ {run.pk}"},
            "run": run,
            "period": self.period(run),
            "goes_on": goes_on,
            "silent": goes_on and run.active_at < silent_since(),
            "stopped": run.state in STOPPED,
            "percent": 100 * run.looked_at // run.total if run.total else 100,
            "moves": [] if goes_on else moves_of(run, names),
            "left": 0 if goes_on else run.moves.filter(undone=False).count(),
            "may_act": self.has_add_permission(request),
            "sales": [] if goes_on else sales_of(run, names),
            "shown": SHOWN,
        }
        return TemplateResponse(request, "traffic/reattribution.html", context)

    def _act(self, request: HttpRequest, run: ReattributionRun) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        if "undo" in request.POST and not start_undo(run=run, author=request.user):  # type: ignore[arg-type]
            messages.warning(request, gettext("Only a run that is done can be undone."))
        else:
            go_on(run=run)
            transaction.on_commit(lambda: carry_on_run.defer(run_id=run.pk))
        return redirect("admin:traffic_reattributionrun_change", run.pk)


def period_of(data: Any) -> tuple[Period, str]:
    """Return the days that a query or a form names, of any length, and "" or what is wrong; this month without any."""
    month = preset_period("month", today())
    try:
        first, last = parse_day(data.get("from", "")), parse_day(data.get("to", ""))
    except (ValidationError, OverflowError):
        return month, gettext("This is not a date. This month is shown.")
    if first is None and last is None:
        return month, ""
    first, last = first or month.first, last or today()
    if not 1970 <= first.year <= last.year < 9999 or first > last:
        return month, gettext("The period ends before it begins. This month is shown.")
    return Period(first, last), ""


def moves_of(run: ReattributionRun, names: dict[str, str]) -> list[dict[str, Any]]:
    """Return what a run moved, by whom and to whom, won sales only."""
    rows = (
        run.moves.filter(won=True)
        .values(
            from_channel=F("before__0"), from_person=F("before__1"), to_channel=F("after__0"), to_person=F("after__1")
        )
        .annotate(
            sales=Count("pk"),
            known=Sum(Cast("sale_amount", DecimalField(max_digits=20, decimal_places=0))),
            without_amount=Count("pk", filter=Q(sale_amount=None)),
        )
        .order_by(F("known").desc(nulls_last=True))
    )
    found = []
    for row in rows:
        before, after = row["from_person"] or row["from_channel"], row["to_person"] or row["to_channel"]
        found.append(
            {**row, "before": names.get(before, before), "after": names.get(after, after), "same": before == after}
        )
    return found


def sales_of(run: ReattributionRun, names: dict[str, str]) -> list[dict[str, Any]]:
    """Return the first sales that a run changed, with what they were before and after."""
    moves = list(run.moves.order_by("lead_id")[:SHOWN])
    sales = Sale.objects.in_bulk([move.lead_id for move in moves], field_name="lead_id")
    found = []
    for move in moves:
        before, after = move.before[1] or move.before[0], move.after[1] or move.after[0]
        found.append(
            {
                "sale": sales.get(move.lead_id),
                "lead_id": move.lead_id,
                "amount": move.sale_amount,
                "before": names.get(before, before),
                "after": names.get(after, after),
                "undone": move.undone,
            }
        )
    return found


@admin.register(SaleOverride)
class SaleOverrideAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "deal", "decision", "reason", "author")
    list_display_links = ("created_at",)
    list_select_related = ("targetologist", "author")
    list_filter = ("action", "targetologist")
    search_fields = ("=lead_id", "reason")
    search_help_text = _("Deal number or reason")
    ordering = ("-pk",)
    fields = (("created_at", "author"), ("deal", "decision"), "reason")

    @display(description=_("deal"))
    def deal(self, override: SaleOverride) -> str:
        return list_link("traffic_sale", f"q={override.lead_id}", override.lead_id)

    @display(description=_("decision"))
    def decision(self, override: SaleOverride) -> str:
        return str(override.targetologist or override.get_action_display())
