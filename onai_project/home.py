"""The first page of the admin: ways to the dashboards, and what needs a person now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from onai_project.periods import day_start, today
from referrals.models import Referrer
from traffic.dashboard import notifications_visible_to, sales_visible_to
from traffic.models import Sale, SalesNotification
from webhooks.models import WebhookDelivery

# Who may see any of these has more to do here than to look at their own sales.
OTHER_WORK = ("traffic.view_all_sales", "referrals.view_conversion", "webhooks.view_webhookdelivery", "auth.view_user")
# Sales older than this are not counted: the index on sale_date bounds the query, and nobody mends them any more.
RECENT = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class Matter:
    """Something that waits for a person: how many, what, and the list that shows exactly those."""

    count: int
    text: Promise
    url: str


@dataclass(frozen=True, slots=True)
class _Check:
    permission: str
    text: Promise
    view: str
    query: str
    rows: Callable[[HttpRequest], QuerySet[Any]]


def _deliveries(status: str) -> Callable[[HttpRequest], QuerySet[Any]]:
    return lambda request: WebhookDelivery.objects.filter(status=status)


def _messages(status: str) -> Callable[[HttpRequest], QuerySet[Any]]:
    return lambda request: notifications_visible_to(request.user).filter(notification_status=status)


def _recent_sales(request: HttpRequest) -> QuerySet[Sale]:
    since = day_start(today() - RECENT)
    return sales_visible_to(request.user).filter(state=Sale.State.WON, sale_date__gte=since)


CHECKS = [
    _Check(
        "webhooks.view_webhookdelivery",
        _("Dead deliveries: tried too often, process them again"),
        "webhooks_webhookdelivery",
        "status__exact=dead",
        _deliveries(WebhookDelivery.Status.DEAD),
    ),
    _Check(
        "webhooks.view_webhookdelivery",
        _("Failed deliveries: will be tried again"),
        "webhooks_webhookdelivery",
        "status__exact=failed",
        _deliveries(WebhookDelivery.Status.FAILED),
    ),
    _Check(
        "traffic.view_salesnotification",
        _("Messages that were not sent"),
        "traffic_salesnotification",
        "notification_status__exact=failed",
        _messages(SalesNotification.Status.FAILED),
    ),
    _Check(
        "traffic.view_salesnotification",
        _("Messages of which nobody knows whether they arrived"),
        "traffic_salesnotification",
        "notification_status__exact=uncertain",
        _messages(SalesNotification.Status.UNCERTAIN),
    ),
    _Check(
        "traffic.view_all_sales",
        _("Sales of the last 90 days that no rule matched"),
        "traffic_sale",
        "state__exact=won&channel__exact=unknown",
        lambda request: _recent_sales(request).filter(channel=Sale.Channel.UNKNOWN),
    ),
    _Check(
        "traffic.view_sale",
        _("Sales of the last 90 days without an amount"),
        "traffic_sale",
        "state__exact=won&amount=unknown",
        lambda request: _recent_sales(request).filter(sale_amount=None),
    ),
    _Check(
        "referrals.view_referrer",
        _("Referral codes that nobody has claimed"),
        "referrals_referrer",
        "claimed__exact=0",
        lambda request: Referrer.objects.filter(claimed=False),
    ),
]


def matters(request: HttpRequest) -> list[Matter]:
    """Return what waits for this person, of what they may see; nothing that is zero."""
    found = []
    for check in CHECKS:
        if not request.user.has_perm(check.permission):
            continue
        if count := check.rows(request).count():
            query = check.query
            if check.view == "traffic_sale":
                query += f"&sale_date_from={today() - RECENT}"
            found.append(Matter(count, check.text, f"{reverse(f'admin:{check.view}_changelist')}?{query}"))
    return found


def start(request: HttpRequest) -> HttpResponseBase:
    """Show the admin's first page; a targetologist has only their sales, so that is their first page."""
    user = request.user
    if user.has_perm("traffic.view_sale") and not any(user.has_perm(other) for other in OTHER_WORK):
        return redirect("traffic-dashboard")
    return admin.site.index(request)


def home_context(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add to the admin index what its template shows (unfold's DASHBOARD_CALLBACK)."""
    return {**context, "title": _("Overview"), "matters": matters(request)}
