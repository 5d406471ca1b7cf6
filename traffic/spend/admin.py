"""Ad spend in the admin: entries by hand, and a page that checks a file and imports it."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.core.files.uploadedfile import UploadedFile
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import RangeDateFilter
from unfold.decorators import action, display

from onai_project.admin_base import PanelAdmin, money
from onai_project.csv_rows import MAX_BYTES, decoded
from traffic.filters import visible_slugs
from traffic.models import AdSpend
from traffic.spend.entries import compare_spend, spend_visible_to, store_spend
from traffic.spend.files import read_spend
from traffic.spend.people import slugs_by_name

# More errors than that nobody mends one by one.
ERRORS_SHOWN = 50


class SpendForm(forms.ModelForm):  # type: ignore[type-arg]
    """An entry's form; a campaign of spaces is none."""

    def clean_campaign(self) -> str:
        """Return the campaign without spaces around it."""
        return str(self.cleaned_data.get("campaign") or "").strip()


class FileForm(forms.Form):
    """A file, or the text of the one that was checked before."""

    file = forms.FileField(label=_("CSV file"), required=False)
    text = forms.CharField(required=False, strip=False, widget=forms.HiddenInput)

    def content(self) -> bytes:
        """Return what was sent."""
        file = self.cleaned_data.get("file")
        if isinstance(file, UploadedFile):
            return bytes(file.read(MAX_BYTES + 1))
        return str(self.cleaned_data.get("text") or "").encode()


@admin.register(AdSpend)
class AdSpendAdmin(PanelAdmin):
    form = SpendForm
    list_display = ("date", "targetologist", "campaign_shown", "sum", "author", "updated_at")
    list_display_links = ("date", "campaign_shown")
    list_filter = (("date", RangeDateFilter), "targetologist")
    list_filter_submit = True
    list_select_related = ("targetologist", "author")
    search_fields = ("campaign",)
    search_help_text = _("Campaign")
    date_hierarchy = None
    fields = (("date", "targetologist"), ("campaign", "amount"))
    actions_list = ("open_import",)

    @display(description=_("campaign"), ordering="campaign")
    def campaign_shown(self, entry: AdSpend) -> str:
        return entry.campaign or gettext("all together")

    @display(description=_("amount"), ordering="amount")
    def sum(self, entry: AdSpend) -> str:
        return money(entry.amount)

    def get_queryset(self, request: HttpRequest) -> QuerySet[AdSpend]:
        """Return only what this person may see."""
        return spend_visible_to(request.user)

    def get_list_filter(self, request: HttpRequest) -> Any:
        filters = super().get_list_filter(request)
        return filters if visible_slugs(request.user) is None else [one for one in filters if one != "targetologist"]

    def save_model(self, request: HttpRequest, obj: AdSpend, form: Any, change: bool) -> None:
        """Keep who entered it."""
        obj.author = request.user if isinstance(request.user, User) else None
        super().save_model(request, obj, form, change)

    def has_open_import_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return bool(self.has_add_permission(request) and self.has_change_permission(request))

    @action(description=_("Import a file"), url_path="open-import", permissions=["open_import"])
    def open_import(self, request: HttpRequest) -> HttpResponse:
        return HttpResponseRedirect(reverse("admin:traffic_adspend_import"))

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.import_file)
        return [path("import/", view, name="traffic_adspend_import"), *super().get_urls()]

    def import_file(self, request: HttpRequest) -> HttpResponse:
        """Check a file and show what it would do; import it on a second click."""
        if not self.has_open_import_permission(request):
            raise PermissionDenied
        form = FileForm(request.POST, request.FILES) if request.method == "POST" else FileForm()
        context = {
            **self.admin_site.each_context(request),
            "title": _("Import of ad spend"),
            "opts": self.opts,
            "form": form,
            "people": sorted(set(slugs_by_name().values())),
        }
        if request.method == "POST" and form.is_valid():
            content = form.content()
            read = read_spend(content, slugs_by_name())
            if "import" in request.POST and not read.errors:
                author = request.user if isinstance(request.user, User) else None
                outcome = store_spend(lines=read.lines, author=author)
                counts = {"new": outcome.new, "changed": outcome.changed, "same": outcome.same}
                said = gettext("Imported: new %(new)s, changed %(changed)s, already there %(same)s.") % counts
                messages.success(request, said)
                return HttpResponseRedirect(reverse("admin:traffic_adspend_changelist"))
            if read.errors:
                wrong = ngettext(
                    "Nothing is imported: %(n)s line is wrong.", "Nothing is imported: %(n)s lines are wrong.",
                    len(read.errors),
                ) % {"n": len(read.errors)}  # fmt: skip
                context |= {"wrong": wrong, "errors": read.errors[:ERRORS_SHOWN]}
            else:
                context |= {"outcome": compare_spend(read.lines), "read": read, "text": decoded(content)}
        return TemplateResponse(request, "traffic/spend_import.html", context)
