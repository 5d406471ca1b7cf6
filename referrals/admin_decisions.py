"""What a manager decides of a conversion: a page each, that shows what would be posted before it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from referrals import decisions
from referrals.admin_plans import by_referrer
from referrals.decisions import Outcome, Undecidable
from referrals.judgement import RELEASABLE
from referrals.models import Conversion, Decision

Kind = Decision.Kind


@dataclass(frozen=True, slots=True)
class Page:
    """One kind of decision as a page."""

    title: Promise
    text: Promise
    decide: Callable[..., Outcome]
    amount: Promise | None = None  # what the sum is called
    least: int | None = None
    needs_reason: bool = True


PAGES: dict[str, Page] = {
    Kind.RELEASE: Page(
        _("Release"),
        _("The commission is no longer held back: it can be paid from its day on. Who released it is written down."),
        decisions.conversion_release,
        needs_reason=False,
    ),
    Kind.REJECT: Page(
        _("Reject"),
        _("The sale earns nothing and counts for no tier. What it has earned so far is taken back."),
        decisions.conversion_reject,
    ),
    Kind.REOPEN: Page(
        _("Withdraw the rejection"),
        _("The sale earns again as if it had never been rejected."),
        decisions.conversion_reopen,
    ),
    Kind.REFUND: Page(
        _("Refund"),
        _("The customer got a part of the money back: only the rest of the amount earns."),
        decisions.conversion_refund,
        amount=_("refunded to the customer, ₸"),
        least=1,
    ),
    Kind.CORRECTION: Page(
        _("Correct"),
        _("Adds to the commission, or with a minus takes from it, for as long as the sale stands."),
        decisions.conversion_correct,
        amount=_("by how much, ₸"),
    ),
}


class DecisionForm(forms.Form):
    """The sum, where there is one, and the reason."""

    amount = forms.DecimalField(decimal_places=0, max_digits=12, localize=False)
    reason = forms.CharField(label=_("reason"), max_length=300, help_text=_("The referrer reads it."))

    def __init__(self, page: Page, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if page.amount is None:
            del self.fields["amount"]
        else:
            self.fields["amount"].label = str(page.amount)
            if page.least is not None:
                self.fields["amount"].widget.attrs["min"] = page.least
        if not page.needs_reason:
            self.fields["reason"].required = False
            self.fields["reason"].label = gettext("note")
            self.fields["reason"].help_text = gettext("For managers only.")
        self.page = page

    def clean_amount(self) -> Decimal:
        """Return the sum. Nothing is no decision."""
        amount: Decimal = self.cleaned_data["amount"]
        if amount == 0 or (self.page.least is not None and amount < self.page.least):
            raise forms.ValidationError(_("More than nothing."))
        return amount


def buttons(conversion: Conversion) -> list[dict[str, object]]:
    """Return what may be decided of a conversion now: titles and addresses; `main` is what it waits for."""
    if conversion.state != Conversion.State.WON:
        return []
    if conversion.rejected:
        kinds = [Kind.REOPEN]
    else:
        kinds = [Kind.REJECT, Kind.REFUND, Kind.CORRECTION]
        if conversion.hold_reason in RELEASABLE:
            kinds.insert(0, Kind.RELEASE)
    return [
        {
            "title": str(PAGES[kind].title),
            "url": reverse("admin:referrals_conversion_decide", args=[conversion.pk, kind.value]),
            "main": kind in (Kind.RELEASE, Kind.REOPEN),
        }
        for kind in kinds
    ]


def decide_view(request: HttpRequest, pk: int, kind: str) -> HttpResponse:
    """Ask for what the decision needs, show what it would post, and decide once that is agreed to.

    What is agreed to is what was shown: the sum and the reason come back with the mark of the preview, which is good
    once.
    """
    if not request.user.has_perm("referrals.add_decision"):
        raise PermissionDenied
    if kind not in PAGES:
        raise Http404
    page = PAGES[kind]
    conversion = get_object_or_404(Conversion.objects.select_related("referrer"), pk=pk)
    asked = request.method == "POST"
    form = DecisionForm(page, request.POST if asked else None)
    outcome, problem = None, ""
    if asked and form.is_valid() and "edit" not in request.POST:
        agreed = request.POST.get("expected", "") if "confirm" in request.POST else ""
        # A release posts nothing, so there is nothing to look at first.
        steps = {} if kind == Kind.RELEASE else {"preview": not agreed, "expected": agreed}
        try:
            outcome = page.decide(lead_id=conversion.lead_id, by=request.user, **form.cleaned_data, **steps)
        except Undecidable as error:
            problem = gettext(str(error))
        else:
            if not steps.get("preview"):
                messages.success(request, gettext("It is decided and written down."))
                return HttpResponseRedirect(reverse("admin:referrals_conversion_change", args=[pk]))
    context = {
        **admin.site.each_context(request),
        "title": f"{page.title}: {conversion.lead_name or conversion.lead_id}",
        "conversion": conversion,
        "page": page,
        "form": form,
        "outcome": outcome,
        "lines": by_referrer(outcome) if outcome else [],
        "problem": problem,
    }
    return TemplateResponse(request, "referrals/decide.html", context)
