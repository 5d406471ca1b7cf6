"""What the API told and how it is: pages for people."""

from __future__ import annotations

from django.contrib import admin
from django.utils.html import format_html_join
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from onai_project.admin_base import ReadOnlyAdmin, UncountedAdmin, choice_label, list_link, moment, reason_text
from webhooks.models import ApiQuestion, ApiState, Contact, Deal


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

    @display(description=_("deals"))
    def deals(self, contact: Contact) -> str:
        ids = Deal.objects.filter(contact_id=contact.pk).values_list("pk", flat=True)[:10]
        return format_html_join(", ", "{}", ((list_link("webhooks_deal", f"q={pk}", pk),) for pk in ids))
