"""What managers do for cabinets: landing pages, sign-in links, a look inside; and who had access when."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import DateTimeField, Exists, OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from onai_project.admin_base import (
    EMPTY,
    DayRangeFilter,
    PanelAdmin,
    ReadOnlyAdmin,
    choice_label,
    label,
    moment,
    reason_text,
)
from referrals.cabinet import access, messages
from referrals.cabinet.models import AccessEvent, Cabinet, CabinetMessage, LandingPage, LinkedChat

STATUS_COLOURS = {"sent": "success", "failed": "danger", "uncertain": "warning", "pending": "info"}


@admin.register(LandingPage)
class LandingPageAdmin(PanelAdmin):
    list_display = ("title", "url", "order", "active")
    fields = ("title", "url", ("order", "active"))


@admin.register(Cabinet)
class CabinetAdmin(ReadOnlyAdmin):
    """Referrers as owners of cabinets; signing them in and looking inside are buttons, by POST."""

    list_display = ("code", "name", "telegram", "last_sign_in", "buttons")
    search_fields = ("code", "name", "phone", "email")
    search_help_text = _("Code, name, phone or e-mail")
    ordering = ("code",)
    fields = (("code", "name"), ("telegram", "last_sign_in"), "buttons")

    @display(description="Telegram")
    def telegram(self, cabinet: Any) -> str:
        return label(gettext("Linked"), "success") if cabinet.has_chat else label(gettext("Not linked"), "")

    @display(description=_("last signed in"), ordering="signed_in")
    def last_sign_in(self, cabinet: Any) -> str:
        return moment(cabinet.signed_in)

    @display(description=_("cabinet"))
    def buttons(self, cabinet: Cabinet) -> str:
        return format_html(
            '<a class="panel-link" href="{}">{}</a> · <a class="panel-link" href="{}">{}</a>',
            reverse("admin:cabinet_cabinet_link", args=[cabinet.pk]),
            gettext("Sign-in link"),
            reverse("admin:cabinet_cabinet_view_as", args=[cabinet.pk]),
            gettext("Look inside"),
        )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Cabinet]:
        entered = AccessEvent.objects.filter(referrer=OuterRef("pk"), kind=AccessEvent.Kind.SIGNED_IN).order_by("-at")
        queryset: QuerySet[Cabinet] = super().get_queryset(request)
        return queryset.annotate(
            has_chat=Exists(LinkedChat.objects.filter(referrer=OuterRef("pk"))),
            signed_in=Subquery(entered.values("at")[:1], output_field=DateTimeField()),
        )

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        return [
            path("<int:pk>/link/", view(self.link_view), name="cabinet_cabinet_link"),
            path("<int:pk>/look/", view(self.look_view), name="cabinet_cabinet_view_as"),
            *super().get_urls(),
        ]

    def link_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask, then show a one-time link to pass on. Only this page ever has it."""
        cabinet = self._cabinet(request, pk)
        url = ""
        if request.method == "POST":
            url = messages.sign_in_url(access.link_make(referrer=cabinet, by=request.user))  # type: ignore[arg-type]
        response = self._page(request, cabinet, "link", gettext("Sign-in link"), url=url)
        response["Cache-Control"] = "no-store"
        return response

    def look_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask, then open the cabinet as its owner sees it, to read only."""
        cabinet = self._cabinet(request, pk)
        if request.method != "POST":
            return self._page(request, cabinet, "look", gettext("Look inside"))
        secret = access.view_begin(referrer=cabinet, by=request.user)  # type: ignore[arg-type]
        response = redirect("cabinet:home")
        access.set_cookie(response, secret, access.VIEW_AGE)
        return response

    def _cabinet(self, request: HttpRequest, pk: int) -> Cabinet:
        if not request.user.has_perm(access.VIEW_PERMISSION):
            raise PermissionDenied
        cabinet: Cabinet | None = self.get_queryset(request).filter(pk=pk).first()
        if cabinet is None:
            raise PermissionDenied
        return cabinet

    def _page(self, request: HttpRequest, cabinet: Cabinet, what: str, title: str, **extra: Any) -> TemplateResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": f"{title}: {cabinet}",
            "cabinet": cabinet,
            "what": what,
            **extra,
        }
        return TemplateResponse(request, "cabinet/admin_access.html", context)


@admin.register(AccessEvent)
class AccessEventAdmin(ReadOnlyAdmin):
    list_display = ("at", "referrer", "what", "who", "detail")
    list_filter = (("at", DayRangeFilter), "kind")
    list_select_related = ("referrer", "by")
    search_fields = ("referrer__code", "referrer__name", "by__username")
    search_help_text = _("Referrer or manager")
    ordering = ("-pk",)
    fields = (("at", "referrer"), ("what", "who"), "detail")
    what = choice_label("kind", {"view_begun": "warning", "page_viewed": "warning"}, _("what happened"))

    @display(description=_("by whom"), ordering="by")
    def who(self, event: AccessEvent) -> str:
        return str(event.by) if event.by else gettext("the referrer")


@admin.register(CabinetMessage)
class CabinetMessageAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "referrer", "kind_label", "status_label", "notified_at", "why")
    list_filter = (("created_at", DayRangeFilter), "notification_status", "kind")
    list_select_related = ("referrer",)
    search_fields = ("referrer__code", "referrer__name")
    search_help_text = _("Referrer")
    ordering = ("-pk",)
    fields = (("created_at", "referrer"), ("kind_label", "status_label"), ("notified_at", "attempts"), "why")
    kind_label = choice_label("kind", {"accrual": "success", "reversal": "danger"}, _("kind"))
    status_label = choice_label("notification_status", STATUS_COLOURS, _("status"))

    @display(description=_("error"))
    def why(self, message: CabinetMessage) -> str:
        return reason_text(message.error) if message.error else EMPTY
