"""Commission plans and groups, for the referral manager to keep; the recalculation of sales, previewed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError
from django.db.models import Count, OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.translation import gettext, ngettext, pgettext
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from onai_project.admin_base import EMPTY, PanelAdmin, label, list_link
from onai_project.periods import today
from referrals import decisions
from referrals.decisions import Undecidable
from referrals.models import CommissionPlan, Conversion, Referrer, ReferrerGroup
from referrals.plan_text import terms_text
from referrals.plans import PlanReplaced, as_plan, plan_change

FLAT = "kind == 'percent' || kind == 'fixed'"
TIERED = "kind == 'percent_tiers' || kind == 'fixed_tiers'"


class PlanForm(forms.ModelForm):  # type: ignore[type-arg]
    """Asks for the numbers that the kind of plan needs, and forgets those that it does not."""

    def clean(self) -> dict[str, Any] | None:
        """Say in words what the database would only refuse."""
        values = super().clean() or self.cleaned_data
        tiered = values.get("kind") in CommissionPlan.TIERED
        needed = CommissionPlan.RATES if tiered else ("value",)
        for name in ("value", *CommissionPlan.RATES):
            number = values.get(name)
            if name not in needed:
                values[name] = None
            elif name in self.errors:
                continue
            elif number is None:
                self.add_error(name, _("This plan needs it."))
            elif number < 0:
                self.add_error(name, _("Not less than nothing."))
            elif values["kind"].startswith("percent") and number > 100:
                self.add_error(name, _("At most 100 percent."))
        if values.get("cap") is not None and values["cap"] <= 0:
            self.add_error("cap", _("More than nothing, or leave it empty."))
        if values.get("group") and values.get("referrer"):
            self.add_error("referrer", _("Either a group or one referrer; neither for everyone."))
        first, end = values.get("valid_from"), values.get("valid_to")
        if first and end and end <= first:
            self.add_error("valid_to", _("It ends before it begins."))
        return values


@admin.register(CommissionPlan)
class CommissionPlanAdmin(PanelAdmin):
    form = PlanForm
    list_display = ("name", "audience", "terms", "valid_from", "valid_to_shown", "state", "sales")
    list_filter = ("kind", "group")
    list_select_related = ("group", "referrer")
    search_fields = ("name", "group__name", "referrer__code", "referrer__name")
    search_help_text = _("Plan, group or referrer")
    ordering = ("-valid_from", "-id")
    autocomplete_fields = ("referrer",)
    list_before_template = "referrals/plans_head.html"
    change_form_before_template = "referrals/plan_head.html"
    conditional_fields = {"value": FLAT, **dict.fromkeys(CommissionPlan.RATES, TIERED)}
    fieldsets = (
        (None, {"fields": ("name", ("group", "referrer"))}),
        (
            _("Commission"),
            {
                "fields": (
                    "kind",
                    "value",
                    ("rate_from_1", "rate_from_3"),
                    ("rate_from_5", "rate_from_8"),
                    ("cap", "first_sale_only"),
                )
            },
        ),
        (_("Validity"), {"fields": (("valid_from", "valid_to"),)}),
    )

    @display(description=_("for whom"))
    def audience(self, plan: CommissionPlan) -> str:
        return str(plan.referrer or plan.group or gettext("Everyone"))

    @display(description=_("commission"))
    def terms(self, plan: CommissionPlan) -> str:
        return terms_text(as_plan(plan))

    @display(description=_("until"), ordering="valid_to")
    def valid_to_shown(self, plan: CommissionPlan) -> str:
        """Show the last day on which it holds."""
        if plan.valid_to is None or plan.valid_to == plan.valid_from:
            return EMPTY
        return date_format(plan.valid_to - timedelta(days=1), "SHORT_DATE_FORMAT")

    @display(description=_("state"))
    def state(self, plan: CommissionPlan) -> str:
        day = today()
        if plan.valid_to == plan.valid_from:
            return label(gettext("Replaced"), "")
        if plan.valid_from > day:
            return label(gettext("Planned"), "info")
        if plan.valid_to is not None and plan.valid_to <= day:
            return label(pgettext("plan", "Ended"), "")
        return label(gettext("In force"), "success")

    @display(description=_("sales"))
    def sales(self, plan: Any) -> str:
        return list_link("referrals_conversion", f"plan__id__exact={plan.pk}", plan.used) if plan.used else "0"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        plans: QuerySet[CommissionPlan] = super().get_queryset(request)
        return plans.annotate(used=_used())

    def has_change_permission(self, request: HttpRequest, obj: CommissionPlan | None = None) -> bool:
        """Only the newest version is changed."""
        allowed: bool = super().has_change_permission(request, obj)
        return allowed and (obj is None or not CommissionPlan.objects.filter(replaces=obj).exists())

    def has_delete_permission(self, request: HttpRequest, obj: CommissionPlan | None = None) -> bool:
        """Keep what conversions earned by; a plan is ended, not deleted."""
        return False

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Say in words what the form could not know: somebody saved another plan at the same moment."""
        try:
            return super().changeform_view(request, *args, **kwargs)  # type: ignore[no-any-return]
        except (IntegrityError, PlanReplaced):
            text = _("Nothing is saved: somebody changed the plans at the same moment. Look at them and try again.")
            self.message_user(request, text, messages.ERROR)
            return HttpResponseRedirect(reverse("admin:referrals_commissionplan_changelist"))

    def save_model(self, request: HttpRequest, obj: CommissionPlan, form: Any, change: bool) -> None:
        """Save a new plan, or other terms as a new version."""
        if not change:
            obj.created_by = request.user  # type: ignore[assignment]
            super().save_model(request, obj, form, change)
            return
        if not set(form.changed_data) & set(CommissionPlan.TERMS):
            super().save_model(request, obj, form, change)
            return
        values = {name: form.cleaned_data[name] for name in ("name", "valid_to", *CommissionPlan.TERMS)}
        obj.successor = plan_change(plan=obj, by=request.user, **values)  # type: ignore[attr-defined, arg-type]

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        return super().log_change(request, getattr(obj, "successor", obj), message)

    def response_change(self, request: HttpRequest, obj: Any) -> HttpResponse:
        """Go on to the new version, and say what it does not move."""
        new = getattr(obj, "successor", None)
        if new is None:
            return super().response_change(request, obj)  # type: ignore[no-any-return]
        kept = Conversion.objects.filter(plan=obj.pk, sale_date__date__gte=new.valid_from).count()
        text = gettext("Version %(number)s is saved.") % {"number": new.version}
        if kept:
            text += " " + ngettext(
                "%(n)s sale of its days keeps the earlier terms.",
                "%(n)s sales of its days keep the earlier terms.",
                kept,
            ) % {"n": kept}
            link = format_html(
                ' <a class="panel-link" href="{}?first={}">{}</a>',
                reverse("admin:referrals_recalculate"), new.valid_from.isoformat(), gettext("Recalculate"),
            )  # fmt: skip
            self.message_user(request, format_html("{}{}", text, link), messages.WARNING)
        else:
            self.message_user(request, text)
        return HttpResponseRedirect(reverse("admin:referrals_commissionplan_changelist"))

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        return [path("recalculate/", view(self.recalculate_view), name="referrals_recalculate"), *super().get_urls()]

    def recalculate_view(self, request: HttpRequest) -> HttpResponse:
        """Ask for days and a reason, show what would change, and change it once that is agreed to."""
        if not request.user.has_perm("referrals.change_commissionplan"):
            raise PermissionDenied
        asked = request.method == "POST"
        initial = {"first": request.GET.get("first") or today().replace(day=1), "last": today()}
        form = RecalculationForm(request.POST if asked else None, initial=initial)
        outcome, problem = None, ""
        if asked and form.is_valid():
            agreed = request.POST.get("expected", "") if "confirm" in request.POST else ""
            try:
                outcome = decisions.conversions_recalculate(
                    **form.cleaned_data,
                    by=request.user,  # type: ignore[arg-type]
                    preview=not agreed,
                    expected=agreed,
                )
            except Undecidable as error:
                problem = gettext(str(error))
            else:
                if agreed:
                    self.message_user(request, recalculated_text(outcome))
                    return HttpResponseRedirect(reverse("admin:referrals_commissionplan_changelist"))
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Recalculate sales"),
            "form": form,
            "outcome": outcome,
            "lines": by_referrer(outcome) if outcome else [],
            "problem": problem,
        }
        return TemplateResponse(request, "referrals/recalculate.html", context)


class RecalculationForm(forms.Form):
    """Which sales to recalculate, and why."""

    first = forms.DateField(label=_("first day"), widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"))
    last = forms.DateField(label=_("last day"), widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"))
    referrer = forms.ModelChoiceField(
        Referrer.objects.order_by("code"), label=_("referrer"), required=False, empty_label=_("All referrers")
    )
    reason = forms.CharField(label=_("reason"), max_length=300, help_text=_("The referrers read it."))

    def clean(self) -> dict[str, Any] | None:
        """Keep the span within what one look can judge."""
        values = super().clean() or self.cleaned_data
        first, last = values.get("first"), values.get("last")
        if first and last and not timedelta(0) <= last - first <= timedelta(days=366):
            self.add_error("last", _("From the first day on, at most a year."))
        return values


def by_referrer(outcome: decisions.Outcome) -> list[dict[str, Any]]:
    """Return what an outcome means for each referrer: entries of how many sales, and the sum; the largest first."""
    lines: dict[int, dict[str, Any]] = {}
    for entry in outcome.entries:
        line = lines.setdefault(entry.referrer, {"sales": set(), "total": 0})
        line["sales"].add(entry.lead_id)
        line["total"] += entry.amount
    names = {referrer.pk: referrer for referrer in Referrer.objects.filter(pk__in=lines)}
    found = [{"referrer": names[pk], "sales": len(line["sales"]), "total": line["total"]} for pk, line in lines.items()]
    return sorted(found, key=lambda line: (-abs(line["total"]), str(line["referrer"])))


def recalculated_text(outcome: decisions.Outcome) -> str:
    """Return what a recalculation did."""
    return ngettext("%(n)s sale is recalculated.", "%(n)s sales are recalculated.", outcome.recalculated) % {
        "n": outcome.recalculated
    }


@admin.register(ReferrerGroup)
class ReferrerGroupAdmin(PanelAdmin):
    list_display = ("name", "members")
    search_fields = ("name",)
    ordering = ("name",)
    fields = ("name",)

    @display(description=_("referrers"))
    def members(self, group: Any) -> str:
        return list_link("referrals_referrer", f"group__id__exact={group.pk}", group.member_count)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        groups: QuerySet[ReferrerGroup] = super().get_queryset(request)
        return groups.annotate(member_count=Count("referrers"))


def _used() -> Coalesce:
    """Return the SQL of how many conversions earn by a plan."""
    counted = Conversion.objects.filter(plan=OuterRef("pk")).order_by().values("plan").annotate(n=Count("pk"))
    return Coalesce(Subquery(counted.values("n")), Value(0))
