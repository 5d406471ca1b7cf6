"""The queue of sales that nobody has: give a group to somebody, or make a rule from it. Pages of the admin site."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from onai_project.periods import today
from traffic.models import AttributionRule
from traffic.overrides import override_sales
from traffic.reattribution.plan import owner_names
from traffic.rules.admin import rule_remarks
from traffic.rules.forms import NewRuleForm, OwnerForm
from traffic.unattributed.queue import (
    KEYS,
    add_rule,
    assignable,
    draft_rule,
    preview_rule,
    sales_of_group,
    unattributed_groups,
)

SHOWN = 20


def _check(request: HttpRequest) -> None:
    if not request.user.has_perms(["traffic.view_all_sales", "traffic.view_attributionrule"]):
        raise PermissionDenied


def queue(request: HttpRequest) -> HttpResponse:
    """List the groups; `?q=` looks for a text in them."""
    _check(request)
    search = request.GET.get("q", "").strip()
    groups, totals = unattributed_groups(search)
    context = {
        **admin.site.each_context(request),
        "title": _("Sales without a targetologist"),
        "groups": groups,
        "totals": totals,
        "search": search,
    }
    return TemplateResponse(request, "traffic/unattributed.html", context)


def group(request: HttpRequest) -> HttpResponse:
    """Show a group's sales, take a person's word about all of them, or try and save a rule made from it."""
    _check(request)
    values = {name: request.GET.get(name, "") for name in KEYS}
    sales = sales_of_group(*values.values())
    owner_form = OwnerForm(request.POST if "assign" in request.POST else None)
    rule_form = NewRuleForm(
        request.POST if "assign" not in request.POST and request.POST else None, initial=_guess(values)
    )
    preview = None
    if request.method == "POST" and "assign" in request.POST:
        if not request.user.has_perm("traffic.add_saleoverride"):
            raise PermissionDenied
        if owner_form.is_valid():
            return _assign(request, owner_form, assignable(sales))
    elif request.method == "POST" and rule_form.is_valid():
        if "save" in request.POST:
            return _save_rule(request, rule_form, sales)
        preview = _preview(rule_form)
    context = {
        **admin.site.each_context(request),
        "title": _("A group without a targetologist"),
        "values": values,
        "count": sales.count(),
        "closed": sales.count() - len(assignable(sales)),
        "sales": sales.order_by("-sale_date")[:SHOWN],
        "shown": SHOWN,
        "owner_form": owner_form,
        "rule_form": rule_form,
        "preview": preview,
    }
    return TemplateResponse(request, "traffic/unattributed_group.html", context)


def _guess(values: dict[str, str]) -> dict[str, str]:
    """Return the rule that a group suggests: its campaign, else its source, else its medium."""
    for name, field in (
        ("utm_campaign", AttributionRule.Field.CAMPAIGN_OR_SOURCE),
        ("utm_source", AttributionRule.Field.SOURCE),
        ("utm_medium", AttributionRule.Field.MEDIUM),
    ):
        if values[name]:
            return {"field": field, "match": AttributionRule.Match.CONTAINS, "pattern": values[name][:200]}
    return {}


def _assign(request: HttpRequest, form: OwnerForm, lead_ids: list[int]) -> HttpResponse:
    action, targetologist = form.decision()
    count = override_sales(
        lead_ids=lead_ids, action=action, targetologist=targetologist, reason=form.cleaned_data["reason"],
        author=request.user,  # type: ignore[arg-type]
    )  # fmt: skip
    text = ngettext("%(count)s sale was decided.", "%(count)s sales were decided.", count) % {"count": count}
    messages.success(request, text)
    return redirect("traffic-unattributed")


def _rule_arguments(form: NewRuleForm) -> dict[str, Any]:
    data = form.cleaned_data
    return {
        "targetologist": data["targetologist"].slug,
        "field": data["field"],
        "match": data["match"],
        "pattern": data["pattern"],
    }


def _preview(form: NewRuleForm) -> dict[str, Any]:
    rule = draft_rule(**_rule_arguments(form))
    plan, rules = preview_rule(rule, at_top=form.cleaned_data["place"] == "top")
    names = owner_names()
    return {
        "plan": plan,
        "moves": [
            (names.get(move.before, move.before), names.get(move.after, move.after), move) for move in plan.moves
        ],
        "remarks": [text for _style, text in rule_remarks(rules).get(rule.id, [])],
    }


def _save_rule(request: HttpRequest, form: NewRuleForm, sales: Any) -> HttpResponse:
    if not request.user.has_perm("traffic.add_attributionrule"):
        raise PermissionDenied
    first = sales.order_by("sale_date").values_list("sale_date", flat=True).first()
    add_rule(**_rule_arguments(form), at_top=form.cleaned_data["place"] == "top")
    messages.success(
        request, _("The rule is saved and counts for sales from now on. Old ones move only when you confirm it here.")
    )
    since = first.date() if first else today()
    query = urlencode({"from": since.isoformat(), "to": today().isoformat()})
    return redirect(f"{reverse('admin:traffic_reattributionrun_add')}?{query}")
