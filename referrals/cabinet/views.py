"""The referrer's pages. What they show is the session's referrer's; no address names one."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from onai_project.periods import zone
from referrals.cabinet import charts, chats, links, selectors, wording
from referrals.cabinet.doors import signed_in
from referrals.cabinet.models import CabinetSession, LinkedChat
from referrals.models import Referrer
from referrals.payouts.preview import Why
from referrals.payouts.statements import select_statement
from referrals.status import Status

PER_PAGE = 50
ON_HOME = 5
SWITCHES = {
    "accruals": gettext_lazy("New commissions"),
    "reversals": gettext_lazy("Commissions taken back, with the reason"),
    "payouts": gettext_lazy("Payouts"),
}
STATUSES = ("waiting", "available", "in_payout", "failed", "paid", "hold", "unknown", "nothing", "reversed")


@signed_in
def home(request: HttpRequest, session: CabinetSession) -> HttpResponse:
    """Show the links, the balance, the latest sales, the months and the terms."""
    referrer = session.referrer
    balance = selectors.select_balance(referrer)
    terms = selectors.select_terms(referrer)
    months = selectors.select_months(referrer)
    sold = selectors.select_sales(referrer)
    latest = selectors.sales_of(referrer, sold[:ON_HOME])
    why = _why(referrer, balance, latest)
    context = {
        "session": session,
        "balance": balance,
        "balance_sentence": wording.balance_sentence(balance, why),
        "segments": charts.segments(balance),
        "links": [(link, links.qr_svg(link.url)) for link in links.links_of(referrer)],
        "sales": _lines(latest, why),
        "sales_count": len(sold),
        "months": charts.columns(months),
        "any_month": any(month.conversions or month.earned for month in months),
        "terms": wording.terms_sentence(terms),
        "month": f"{wording.month_sentence(terms)} {wording.tier_sentence(terms)}",
        "linked": LinkedChat.objects.filter(referrer=referrer).exists(),
        "hold_days": settings.REFERRAL_HOLD_DAYS,
    }
    return render(request, "cabinet/home.html", context)


@signed_in
def sales(request: HttpRequest, session: CabinetSession) -> HttpResponse:
    """Show all conversions, page by page, of one status where `?status=` names it."""
    status = request.GET.get("status", "")
    if status not in STATUSES:
        status = ""
    page = Paginator(selectors.select_sales(session.referrer, status=status), PER_PAGE).get_page(
        request.GET.get("page")
    )
    shown = selectors.sales_of(session.referrer, list(page.object_list))
    context = {
        "session": session,
        "page": page,
        "sales": _lines(shown, _why(session.referrer, None, shown)),
        "status": status,
        "statuses": [(key, wording.status_title(key)) for key in STATUSES],
    }
    return render(request, "cabinet/sales.html", context)


@signed_in
def sales_csv(request: HttpRequest, session: CabinetSession) -> HttpResponse:
    """Give the referrer's own conversions as a table that Excel opens: semicolons, a byte order mark."""
    response = HttpResponse("\ufeff", content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = 'attachment; filename="sales.csv"'
    table = csv.writer(response, delimiter=";")
    table.writerow(
        [_("Sale"), _("Date"), _("Customer"), _("Amount, ₸"), _("Commission, ₸"), _("Status"), _("What it means")]
    )
    found = selectors.sales_of(session.referrer, selectors.select_sales(session.referrer))
    why = _why(session.referrer, None, found)
    for sale in found:
        table.writerow(
            [
                sale.number,
                timezone.localtime(sale.day, zone()).strftime("%d.%m.%Y"),
                sale.initials,
                "" if sale.amount is None else sale.amount,
                sale.commission,
                wording.status_title(sale.status),
                wording.status_sentence(sale, why),
            ]
        )
    return response


@signed_in
def payouts(request: HttpRequest, session: CabinetSession) -> HttpResponse:
    """Show what was paid, is being paid, or did not arrive."""
    balance = selectors.select_balance(session.referrer)
    page = Paginator(selectors.select_payouts(session.referrer), PER_PAGE).get_page(request.GET.get("page"))
    context = {
        "session": session,
        "page": page,
        "balance": balance,
        "unpaid": wording.unpaid_sentence(_why(session.referrer, balance)),
        "payouts": [
            {"payout": one, "title": wording.payout_title(one), "sentence": wording.payout_sentence(one)}
            for one in page.object_list
        ],
    }
    return render(request, "cabinet/payouts.html", context)


@signed_in
def payout_statement(request: HttpRequest, session: CabinetSession, number: int) -> HttpResponse:
    """Show what one of the referrer's own payouts consists of, made to print."""
    own = selectors.select_payouts(session.referrer).select_related("batch", "referrer")
    payout = get_object_or_404(own, pk=number)
    return render(request, "payouts/statement.html", {"session": session, "statement": select_statement(payout)})


@signed_in
def qr(request: HttpRequest, session: CabinetSession, page: int) -> HttpResponse:
    """Give the QR code of one link to save or print."""
    link = next((link for link in links.links_of(session.referrer) if link.page == page), None)
    if link is None:
        raise Http404
    response = HttpResponse(links.qr_svg(link.url), content_type="image/svg+xml")
    response["Content-Disposition"] = f'attachment; filename="{session.referrer.code[:50]}-{page}.svg"'
    return response


@signed_in
def settings_page(request: HttpRequest, session: CabinetSession) -> HttpResponse:
    """Show what the bot tells, and the ways out."""
    return _settings(request, session)


@signed_in
def messages_save(request: HttpRequest, session: CabinetSession) -> HttpResponse:
    """Save which messages come."""
    if request.method == "POST":
        chats.messages_choose(
            referrer=session.referrer,
            **{name: name in request.POST for name in SWITCHES},
        )
    return redirect("cabinet:settings")


@signed_in
def telegram_link(request: HttpRequest, session: CabinetSession) -> HttpResponse:
    """Make a one-time deep link to the bot and show it once, with what to do."""
    if request.method != "POST" or not settings.TELEGRAM_BOT_USERNAME:
        return redirect("cabinet:settings")
    return _settings(request, session, deep_link=chats.deep_link(session.referrer))


@signed_in
def telegram_unlink(request: HttpRequest, session: CabinetSession) -> HttpResponse:
    """Let the bot forget the chat."""
    if request.method == "POST":
        chats.chat_unlink(referrer=session.referrer)
    return redirect("cabinet:settings")


def _settings(request: HttpRequest, session: CabinetSession, **extra: Any) -> HttpResponse:
    linked = LinkedChat.objects.filter(referrer=session.referrer).select_related("chat").first()
    context = {
        "session": session,
        "linked": linked,
        "switches": [(name, title, getattr(linked, name)) for name, title in SWITCHES.items() if linked is not None],
        "bot": settings.TELEGRAM_BOT_USERNAME,
        **extra,
    }
    return render(request, "cabinet/settings.html", context)


def _lines(sales: list[selectors.Sale], why: Why) -> list[dict[str, Any]]:
    return [
        {"sale": sale, "title": wording.status_title(sale.status), "sentence": wording.status_sentence(sale, why)}
        for sale in sales
    ]


def _why(referrer: Referrer, balance: selectors.Balance | None, sales: Sequence[selectors.Sale] = ()) -> Why:
    """Return why the next payout passes a referrer over; asked only where something is there to be paid."""
    available = any(sale.open > 0 and sale.open_status == Status.AVAILABLE for sale in sales)
    if available or (balance is not None and balance.available > 0):
        return selectors.select_why(referrer)
    return Why.PAID
