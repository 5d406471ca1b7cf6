"""The rules that attribute sales, the funnels and the pipelines, as pages of the admin."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display
from unfold.views import ChangeList

from onai_project.admin_base import EMPTY, PanelAdmin
from traffic.attribution import Rule
from traffic.models import AttributionRule, Funnel, Pipeline, Targetologist
from traffic.rules.book import select_rules
from traffic.rules.checks import shadowed_rules, shared_patterns
from traffic.rules.forms import checked_pattern


class RuleForm(forms.ModelForm):  # type: ignore[type-arg]
    """A rule's form; refuses a pattern that would match everything or nothing, or can not be kept."""

    def clean_pattern(self) -> str:
        """Return the pattern. Raises ValidationError where it can't be compared."""
        return checked_pattern(str(self.cleaned_data["pattern"]))


class RuleList(ChangeList):
    """The rules, each with what is odd about it."""

    def get_results(self, request: HttpRequest) -> None:
        """Read the page and look at the rules together."""
        super().get_results(request)
        remarks = rule_remarks(select_rules())
        for row in self.result_list:
            row.odd = remarks.get(row.pk, [])


def rule_remarks(rules: list[Rule]) -> dict[int, list[tuple[str, str]]]:
    """Return by rule what is odd about it, as (CSS class, sentence)."""
    names = {person.slug: str(person) for person in Targetologist.objects.all()}
    remarks: dict[int, list[tuple[str, str]]] = {}
    for rule_id, earlier in shadowed_rules(rules).items():
        patterns = ", ".join(f"«{rule.pattern}»" for rule in earlier)
        text = (
            gettext("Never matches: %(patterns)s comes first") % {"patterns": patterns}
            if earlier
            else gettext("Never matches: a referral link is nobody's")
        )
        remarks.setdefault(rule_id, []).append(("panel-wrong", text))
    for rule_id, others in shared_patterns(rules).items():
        people = ", ".join(dict.fromkeys(names.get(rule.targetologist, rule.targetologist) for rule in others))
        remarks.setdefault(rule_id, []).append(
            ("panel-warn", gettext("The same pattern: %(people)s") % {"people": people})
        )
    return remarks


@admin.register(AttributionRule)
class AttributionRuleAdmin(PanelAdmin):
    form = RuleForm
    list_display = ("pattern", "field", "match", "targetologist", "funnel", "is_active", "remarks", "order")
    list_display_links = ("pattern",)
    list_select_related = ("targetologist", "funnel")
    # Dragging numbers the rows of the page: all of them must be there, in their order.
    list_per_page = 1000
    sortable_by = ()
    ordering_field = "order"
    fields = ("targetologist", ("field", "match"), "pattern", "funnel", ("order", "active"))
    list_before_template = "traffic/rules_head.html"

    @display(description=_("active"), boolean=True)
    def is_active(self, rule: AttributionRule) -> bool:
        return rule.active

    @display(description=_("remarks"))
    def remarks(self, rule: Any) -> str:
        return format_html_join("", '<div class="{}">{}</div>', rule.odd) or EMPTY

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return RuleList

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Put a new rule at the end."""
        last = AttributionRule.objects.order_by("-order").values_list("order", flat=True).first()
        return {"order": (last or 0) + 10, **super().get_changeform_initial_data(request)}

    def save_model(self, request: HttpRequest, obj: AttributionRule, form: Any, change: bool) -> None:
        """Save it and say what is odd, and that old sales stay where they are."""
        super().save_model(request, obj, form, change)
        if "form-TOTAL_FORMS" in request.POST:  # the list, where only the order is edited
            return
        for _style, text in rule_remarks(select_rules()).get(obj.pk, []):
            messages.warning(request, f"{obj}: {text}")
        messages.info(request, gettext("The rule counts for sales from now on; old ones stay where they are."))


@admin.register(Funnel)
class FunnelAdmin(PanelAdmin):
    list_display = ("name", "slug", "words_shown", "is_default_shown", "order")
    fields = (("name", "slug"), "words", ("order", "is_default"))

    @display(description=_("words"))
    def words_shown(self, funnel: Funnel) -> str:
        return ", ".join(funnel.words.splitlines()) or EMPTY

    @display(description=_("default"), boolean=True)
    def is_default_shown(self, funnel: Funnel) -> bool:
        return funnel.is_default

    def get_readonly_fields(self, request: HttpRequest, obj: Funnel | None = None) -> tuple[str, ...]:
        """Keep the slug: sales refer to it."""
        return ("slug",) if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: Funnel | None = None) -> bool:
        """Funnels stay: sales name them."""
        return False


@admin.register(Pipeline)
class PipelineAdmin(PanelAdmin):
    list_display = ("name", "pipeline_id", "product", "counts")
    search_fields = ("name", "product", "=pipeline_id")
    search_help_text = _("Name, product or number")
    fields = (("pipeline_id", "name"), "product", "counts")
    list_before_template = "traffic/pipelines_head.html"

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Show the list, and what counts without being in it."""
        entered = set(Pipeline.objects.values_list("pipeline_id", flat=True))
        by_default = [pipeline for pipeline in settings.TRAFFIC_PIPELINE_IDS if pipeline not in entered]
        return super().changelist_view(request, {"by_default": by_default, **(extra_context or {})})

    def get_readonly_fields(self, request: HttpRequest, obj: Pipeline | None = None) -> tuple[str, ...]:
        """Keep the number: it is AmoCRM's."""
        return ("pipeline_id",) if obj else ()
