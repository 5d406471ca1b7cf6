"""What a sale's page in the admin says of its attribution, and the page on which a person decides about it."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from traffic.dashboard import sales_visible_to
from traffic.models import Sale
from traffic.overrides import override_sales
from traffic.rules.forms import OwnerForm
from traffic.rules.why import explain_sale

# Who may read other people's rules, and who may put a word above them.
SEES_RULES = "traffic.view_attributionrule"
DECIDES = "traffic.add_saleoverride"


class SaleWhyMixin:
    """For the admin of sales: the field `why`, and the page "decide"."""

    admin_site: Any

    def why(self, sale: Any) -> str:
        """Return the explanation; of other people's rules only to those who may see them."""
        user = getattr(sale, "seen_by", None)
        context = {
            "sale": sale,
            "explanation": explain_sale(sale),
            "sees_rules": user is not None and user.has_perm(SEES_RULES),
            "decides": user is not None and user.has_perm(DECIDES),
        }
        return render_to_string("traffic/why_sale.html", context)

    why.short_description = _("why")  # type: ignore[attr-defined]

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Return the sale, with who looks at it."""
        sale = super().get_object(request, object_id, from_field)  # type: ignore[misc]
        if sale is not None:
            sale.seen_by = request.user
        return sale

    def get_urls(self) -> list[Any]:
        """Add the page on which a person decides."""
        view = self.admin_site.admin_view(self.decide_view)
        return [path("<int:pk>/decide/", view, name="traffic_sale_decide"), *super().get_urls()]  # type: ignore[misc]

    def decide_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Show whose the sale is and take a person's word about it, with a reason."""
        sale = sales_visible_to(request.user).filter(pk=pk).first() if request.user.has_perm(DECIDES) else None
        if sale is None:
            raise PermissionDenied
        explanation = explain_sale(sale)
        form = OwnerForm(request.POST or None, release=explanation.override is not None)
        if request.method == "POST" and form.is_valid():
            action, targetologist = form.decision()
            override_sales(
                lead_ids=[sale.lead_id], action=action, targetologist=targetologist,
                reason=form.cleaned_data["reason"], author=request.user,  # type: ignore[arg-type]
            )  # fmt: skip
            messages.success(request, gettext("Decided. It stands until somebody decides anew."))
            return redirect(reverse("admin:traffic_sale_change", args=[sale.pk]))
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Whose sale it is: %(sale)s") % {"sale": sale.lead_name or sale.lead_id},
            "sale": Sale.objects.select_related("targetologist").get(pk=sale.pk),
            "explanation": explanation,
            "form": form,
        }
        return TemplateResponse(request, "traffic/decide.html", context)
