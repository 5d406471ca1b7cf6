"""The tester: whose a deal would be by the rules of this moment, and why. A page of the admin site."""

from __future__ import annotations

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from traffic.models import Sale
from traffic.rules.forms import TesterForm
from traffic.rules.pasted import parse_utm
from traffic.rules.tester import look_at, utm_of_deal


def tester(request: HttpRequest) -> HttpResponse:
    """Try the rules on pasted UTM (`?text=`) or on a deal (`?lead=`). Nothing is written."""
    if not request.user.has_perm("traffic.view_attributionrule"):
        raise PermissionDenied
    form = TesterForm(request.GET or None)
    utm: dict[str, str] | None = None
    sale = None
    problem = ""
    if form.is_bound and form.is_valid():
        lead_id = form.cleaned_data["lead"]
        if lead_id:
            utm = utm_of_deal(lead_id)
            sale = Sale.objects.filter(lead_id=lead_id).first()
            problem = "" if utm is not None else _("No deal with this number has arrived.")
        elif text := form.cleaned_data["text"].strip():
            utm = parse_utm(text)
            if not utm:
                utm, problem = None, _("There is no utm_source=…, utm_campaign=… or the like in it.")
        else:
            problem = _("Paste UTM or enter a deal's number.")
    context = {
        **admin.site.each_context(request),
        "title": _("Tester of the rules"),
        "form": form,
        "problem": problem,
        "sale": sale,
        "explanation": None if utm is None else look_at(utm=utm),
    }
    return TemplateResponse(request, "traffic/tester.html", context)
