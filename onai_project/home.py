"""The first page of the admin: ways to the dashboards, and what needs a person now."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import Model, OuterRef, Subquery
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from notifications.models import ChatMessage, OutboxMessage, TelegramChat
from notifications.outbox import outbox_models
from onai_project.periods import Period, day_start, today
from referrals.models import Referrer
from traffic.dashboard import sales_sums
from traffic.models import Sale
from traffic.unattributed.queue import unattributed_sales
from webhooks.models import WebhookDelivery

Status = OutboxMessage.Status
# Who may see any of these has more to do here than to look at their own sales.
OTHER_WORK = ("traffic.view_all_sales", "referrals.view_conversion", "webhooks.view_webhookdelivery", "auth.view_user")
# Sales older than this are not counted: the index on sale_date bounds the query, and nobody mends them any more.
RECENT = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class Matter:
    """Something that waits for a person: how many, what, and the list that shows exactly those."""

    count: int
    text: str
    url: str


def matters(request: HttpRequest) -> list[Matter]:
    """Return what waits for this person, of what they may see; nothing that is zero."""
    found = [*_deliveries(request), *_messages(request), *_chats(request), *_sales(request), *_codes(request)]
    return [matter for matter in found if matter.count]


def _deliveries(request: HttpRequest) -> Iterator[Matter]:
    if not request.user.has_perm("webhooks.view_webhookdelivery"):
        return
    texts = {
        WebhookDelivery.Status.DEAD: _("Dead deliveries: tried too often, process them again"),
        WebhookDelivery.Status.FAILED: _("Failed deliveries: will be tried again"),
    }
    for status, text in texts.items():
        count = WebhookDelivery.objects.filter(status=status).count()
        yield Matter(count, text, _list(WebhookDelivery, f"status__exact={status}"))


def _messages(request: HttpRequest) -> Iterator[Matter]:
    """Yield the messages of every outbox that has a list, of what its admin shows to this person."""
    texts = {
        Status.FAILED: _("%(messages)s: were not sent"),
        Status.UNCERTAIN: _("%(messages)s: nobody knows whether they arrived"),
    }
    for model in outbox_models():
        if not (admin.site.is_registered(model) and admin.site._registry[model].has_view_permission(request)):
            continue
        rows = admin.site._registry[model].get_queryset(request)
        for status, text in texts.items():
            name = capfirst(str(model._meta.verbose_name_plural))
            count = rows.filter(notification_status=status).count()
            yield Matter(count, text % {"messages": name}, _list(model, f"notification_status__exact={status}"))


def _chats(request: HttpRequest) -> Iterator[Matter]:
    """Yield the chats about which the last message did not arrive: those have no list, and stand on the chat's page."""
    if not request.user.has_perm("notifications.view_telegramchat"):
        return
    last = ChatMessage.objects.filter(about=OuterRef("pk")).order_by("-pk").values("notification_status")[:1]
    lost = TelegramChat.objects.annotate(last=Subquery(last)).filter(last__in=(Status.FAILED, Status.UNCERTAIN))
    numbers = sorted(lost.values_list("pk", flat=True))
    query = f"id__in={','.join(map(str, numbers))}"
    yield Matter(len(numbers), _("Chats: the last test or notice may not have arrived"), _list(TelegramChat, query))


def _sales(request: HttpRequest) -> Iterator[Matter]:
    since = today() - RECENT
    if request.user.has_perm("traffic.view_all_sales"):
        count = unattributed_sales().filter(sale_date__gte=day_start(since)).count()
        query = f"state__exact=won&channel__exact=unknown&matched_field__exact=&sale_date_from={since}"
        yield Matter(count, _("Sales of the last 90 days that no rule matched"), _list(Sale, query))
    if request.user.has_perm("traffic.view_sale"):
        count = sales_sums(Period(since, today()), request.user).totals.lacking
        url = f"{reverse('traffic-dashboard-sales')}?show=lacking&from={since}&to={today()}"
        yield Matter(count, _("Sales of the last 90 days without an amount, or without campaign and source"), url)


def _codes(request: HttpRequest) -> Iterator[Matter]:
    if request.user.has_perm("referrals.view_referrer"):
        count = Referrer.objects.filter(claimed=False).count()
        yield Matter(count, _("Referral codes that nobody has claimed"), _list(Referrer, "claimed__exact=0"))


def _list(model: type[Model], query: str) -> str:
    return f"{reverse(f'admin:{model._meta.app_label}_{model._meta.model_name}_changelist')}?{query}"


def start(request: HttpRequest) -> HttpResponseBase:
    """Show the admin's first page; a targetologist has only their sales, so that is their first page."""
    user = request.user
    if user.has_perm("traffic.view_sale") and not any(user.has_perm(other) for other in OTHER_WORK):
        return redirect("traffic-dashboard")
    return admin.site.index(request)


def home_context(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add to the admin index what its template shows (unfold's DASHBOARD_CALLBACK)."""
    return {**context, "title": _("Overview"), "matters": matters(request)}
