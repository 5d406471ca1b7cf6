"""Referrers, for the referral manager to keep: made by hand or from a table, claimed, put into groups."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from onai_project.admin_base import EMPTY, PanelAdmin, label, list_link, money
from onai_project.csv_rows import CsvError, checked_text
from referrals.dashboard import with_balance
from referrals.models import Referrer
from referrals.referrers import Import, code_clean, referrer_save, referrers_import, referrers_read


class ReferrerForm(forms.ModelForm):  # type: ignore[type-arg]
    """Checks a code in words that tell what to do, where the database would only refuse it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "code" in self.fields:
            self.fields["code"].required = False
            self.fields["code"].help_text = gettext("Begins with ref_. Leave it empty, and one is made.")
            self.fields["name"].required = True  # who is entered by hand is somebody

    def clean_code(self) -> str:
        """Return the code as deals are matched by it; "" has one made."""
        code: str = self.cleaned_data["code"].strip()
        return code_clean(code) if code else ""


@admin.register(Referrer)
class ReferrerAdmin(PanelAdmin):
    form = ReferrerForm
    list_display = ("code", "name", "group", "claimed_label", "active", "conversions", "balance", "created_at")
    list_filter = ("claimed", "active", "group")
    list_select_related = ("group",)
    search_fields = ("code", "name", "phone", "email")
    search_help_text = _("Code, name, phone or e-mail")
    list_before_template = "referrals/referrers_head.html"
    ordering = ("code",)
    typed = ("code", ("name", "group"), ("phone", "email"), ("claimed", "active"))
    fields = (*typed, ("balance", "conversions"), "created_at")

    @display(description=_("claimed"), ordering="claimed")
    def claimed_label(self, referrer: Referrer) -> str:
        return label(gettext("Claimed"), "success") if referrer.claimed else label(gettext("Not claimed"), "warning")

    @display(description=_("balance"), ordering="balance")
    def balance(self, referrer: Any) -> str:
        return money(getattr(referrer, "balance", Decimal(0)))

    @display(description=_("conversions"), ordering="won_conversions")
    def conversions(self, referrer: Any) -> str:
        if not referrer.pk:
            return EMPTY
        return list_link("referrals_conversion", f"q={referrer.code}", referrer.won_conversions)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Referrer]:
        return with_balance(super().get_queryset(request))

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Whoever is entered by hand is known."""
        return {"claimed": True, **super().get_changeform_initial_data(request)}

    def save_model(self, request: HttpRequest, obj: Referrer, form: Any, change: bool) -> None:
        """Save, and let what this referrer earned be paid or held accordingly."""
        referrer_save(obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Referrer | None = None) -> tuple[str, ...]:
        """Keep the code: conversions came by it."""
        always = ("balance", "conversions", "created_at")
        return ("code", *always) if obj else always

    def get_fields(self, request: HttpRequest, obj: Referrer | None = None) -> Any:
        return self.fields if obj else self.typed

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        return [path("import/", view(self.import_view), name="referrals_referrer_import"), *super().get_urls()]

    def import_view(self, request: HttpRequest) -> HttpResponse:
        """Check a file line by line, show what becomes of each, and take it in once that is agreed to."""
        if not request.user.has_perm("referrals.add_referrer"):
            raise PermissionDenied
        asked = request.method == "POST"
        form = ImportForm(request.POST if asked else None, request.FILES if asked else None)
        result = Import()
        if asked and form.is_valid():
            text = form.cleaned_data["text"]
            if "confirm" not in request.POST:
                result = referrers_read(text)
            elif (result := referrers_import(text)).is_good:
                count = len(result.rows)
                done = ngettext("%(n)s referrer is taken in.", "%(n)s referrers are taken in.", count) % {"n": count}
                self.message_user(request, done, messages.SUCCESS)
                return HttpResponseRedirect(reverse("admin:referrals_referrer_changelist"))
            form = ImportForm(initial={"checked": text})
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Import of referrers"),
            "form": form,
            "result": result,
        }
        return TemplateResponse(request, "referrals/import.html", context)


class ImportForm(forms.Form):
    """A new file, or the text of the one that was just checked."""

    file = forms.FileField(label=_("file"), required=False)
    checked = forms.CharField(required=False, strip=False, widget=forms.HiddenInput)

    def clean(self) -> dict[str, Any]:
        """Put what the file says into `text`."""
        values = super().clean() or self.cleaned_data
        upload = values.get("file")
        try:
            text = checked_text(upload.read()) if upload else values.get("checked")
        except CsvError as error:
            self.add_error("file", str(error))
            return values
        if not text:
            self.add_error("file", _("Choose a file."))
        return {**values, "text": text or ""}
