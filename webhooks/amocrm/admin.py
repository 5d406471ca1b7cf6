"""What the API told and how it is: pages for people."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import FieldDoesNotExist
from django.http import HttpRequest, HttpResponse
from django.utils.formats import date_format
from django.utils.html import format_html_join
from django.utils.timezone import localtime
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.decorators import action, display

from onai_project.admin_base import (
    EMPTY,
    DayRangeFilter,
    ReadOnlyAdmin,
    UncountedAdmin,
    choice_label,
    deal_link,
    label,
    list_link,
    moment,
    reason_text,
)
from onai_project.periods import zone
from webhooks import tasks
from webhooks.models import ApiQuestion, ApiState, Contact, Deal, Reconciliation, ReconciliationFinding
from webhooks.reconciliation_models import MISSED_HOOKS

FINDING_COLOURS = {**dict.fromkeys(MISSED_HOOKS, "danger"), "differs": "info", "gone": "warning"}


@admin.register(ApiState)
class ApiStateAdmin(ReadOnlyAdmin):
    list_display = ("trouble_label", "detail", "failures", "failed_since", "paused_until", "hook_checked_at", "hook")
    trouble_label = choice_label("trouble", {"": "success"}, _("trouble"))

    @display(description=_("what is wrong with the hook"))
    def hook(self, state: ApiState) -> str:
        return reason_text(state.hook_problem)


@admin.register(ApiQuestion)
class ApiQuestionAdmin(UncountedAdmin):
    list_display = ("object_id", "kind", "due", "attempts", "reason")
    fields = (("object_id", "kind"), ("due", "attempts"), "reason")
    list_filter = ("kind", ("due_at", admin.EmptyFieldListFilter))
    search_fields = ("=object_id",)
    search_help_text = _("Deal or contact number")
    ordering = ("-id",)
    sortable_by = ()

    @display(description=_("due at"))
    def due(self, question: ApiQuestion) -> str:
        return moment(question.due_at)

    @display(description=_("error"))
    def reason(self, question: ApiQuestion) -> str:
        return reason_text(question.error)


@admin.register(Contact)
class ContactAdmin(UncountedAdmin):
    list_display = ("contact_id", "name", "phone", "email", "deals", "forgotten_at")
    search_fields = ("=contact_id", "name", "phone", "email")
    ordering = ("-contact_id",)
    sortable_by = ()
    fields = ("contact_id", "name", "phone", "email", "deals", "fetched_at", "forgotten_at")
    actions_detail = ("forget",)

    def has_forget_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        is_known = object_id is None or Contact.objects.filter(pk=object_id, forgotten_at=None).exists()
        return is_known and request.user.has_perm("webhooks.change_contact")

    @action(
        description=_("Forget this person"),
        permissions=["forget"],
        icon="person_off",
        dialog={
            "title": _("Remove everything about this person?"),
            "description": _(
                "Name, phone and e-mail disappear from contacts, deals, the log, stored bodies and messages. The sums "
                "and dates of the deals stay. It cannot be undone. Delete or rename them in AmoCRM first."
            ),
            "form_class": None,
            "form_submit_text": _("Forget"),
        },
    )
    def forget(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        tasks.forget.defer(contact_id=int(object_id))
        self.message_user(
            request, gettext("The person is being forgotten; within minutes the page shows when."), messages.SUCCESS
        )
        return HttpResponse(headers={"HX-Refresh": "true"})

    @display(description=_("deals"))
    def deals(self, contact: Contact) -> str:
        ids = Deal.objects.filter(contact_id=contact.pk).values_list("pk", flat=True)[:10]
        return format_html_join(", ", "{}", ((list_link("webhooks_deal", f"q={pk}", pk),) for pk in ids))


@admin.register(Reconciliation)
class ReconciliationAdmin(UncountedAdmin):
    list_display = ("id", "started", "compared", "asked", "state", "deals", "entered", "missed", "found")
    list_filter = (("started_at", DayRangeFilter), "is_periodic")
    ordering = ("-id",)
    sortable_by = ()
    fields = (
        ("started", "ended"),
        ("compared", "done"),
        ("asked", "state"),
        ("deals", "entered"),
        ("missed", "found"),
        "reason",
    )

    @display(description=_("started at"))
    def started(self, run: Reconciliation) -> str:
        return moment(run.started_at)

    @display(description=_("ended at"))
    def ended(self, run: Reconciliation) -> str:
        return moment(run.ended_at)

    @display(description=_("time compared"))
    def compared(self, run: Reconciliation) -> str:
        return f"{_minute(run.since)} – {_minute(run.until)}"

    @display(description=_("done up to"))
    def done(self, run: Reconciliation) -> str:
        return _minute(run.done_until)

    @display(description=_("begun by"))
    def asked(self, run: Reconciliation) -> str:
        return gettext("the clock") if run.is_periodic else gettext("command")

    @display(description=_("state"))
    def state(self, run: Reconciliation) -> str:
        if run.ended_at:
            return label(gettext("Done"), "success")
        return label(gettext("Interrupted"), "danger") if run.error else label(gettext("Under way"), "info")

    @display(description=_("error"))
    def reason(self, run: Reconciliation) -> str:
        return reason_text(run.error)

    @display(description=_("findings"))
    def found(self, run: Reconciliation) -> str:
        if not run.entered and not run.missed:
            return EMPTY
        return list_link("webhooks_reconciliationfinding", f"run__id__exact={run.pk}", gettext("Show"))


@admin.register(ReconciliationFinding)
class ReconciliationFindingAdmin(UncountedAdmin):
    list_display = ("found", "deal", "kind_label", "when", "different", "run_link")
    list_filter = (("found_at", DayRangeFilter), "kind")
    search_fields = ("=lead_id",)
    search_help_text = _("Deal number")
    ordering = ("-id",)
    sortable_by = ()
    fields = (("deal", "kind_label"), ("when", "found"), "different", "run_link")
    kind_label = choice_label("kind", FINDING_COLOURS, _("finding"))

    @display(description=_("found at"))
    def found(self, finding: ReconciliationFinding) -> str:
        return moment(finding.found_at)

    @display(description=_("deal"))
    def deal(self, finding: ReconciliationFinding) -> str:
        return deal_link(finding.lead_id)

    @display(description=_("when it was in AmoCRM"))
    def when(self, finding: ReconciliationFinding) -> str:
        return moment(finding.at)

    @display(description=_("what was different here"))
    def different(self, finding: ReconciliationFinding) -> str:
        if finding.fields == "lead_id":
            return gettext("the deal was not known")
        return ", ".join(_name(field) for field in finding.fields.split(", ")) if finding.fields else EMPTY

    @display(description=_("reconciliation"))
    def run_link(self, finding: ReconciliationFinding) -> str:
        return list_link("webhooks_reconciliation", f"id={finding.run_id}", f"#{finding.run_id}")


def _minute(value: datetime) -> str:
    return date_format(localtime(value, zone()), "d.m.Y H:i")


def _name(field: str) -> str:
    """Return a field of the deal as people call it."""
    try:
        return str(Deal._meta.get_field(field).verbose_name)  # type: ignore[union-attr]
    except FieldDoesNotExist:
        return field
