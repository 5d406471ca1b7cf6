"""The pages of batches and payouts below the admin site. What they do is in batches.py and bank.py."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.core import signing
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Count, Sum
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from procrastinate.exceptions import AlreadyEnqueued

from onai_project.admin_base import label
from onai_project.money import money
from onai_project.periods import today
from referrals.payouts import bank, batches, wording
from referrals.payouts.checks import findings_of
from referrals.payouts.forms import PaidForm, ResultsForm
from referrals.payouts.models import LedgerCheck, Payout, PayoutBatch
from referrals.payouts.preview import select_preview
from referrals.payouts.statements import select_statement
from referrals.payouts.tasks import check_ledger_now
from webhooks.transient import in_transaction

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
CHANGE = "payouts.change_payoutbatch"
VIEW = "payouts.view_payoutbatch"
STATE_COLOURS = {"confirmed": "info", "paid": "success", "failed": "danger", "void": ""}
# More entries nobody reads beside the buttons; the statement has all.
LINES_SHOWN = 100


def batch_page(request: HttpRequest, pk: int) -> HttpResponse:
    """Show a draft with whom it would pay, or a confirmed batch with what became of its payouts."""
    batch = _batch(request, pk, VIEW)
    context = _context(request, _("Batch of payouts %(batch)s") % {"batch": batch}, batch)
    if batch.state == PayoutBatch.State.DRAFT:
        preview = select_preview(cutoff=batch.cutoff, minimum=batch.minimum)
        context |= {
            "preview": preview,
            "unpaid": [(line, wording.why_sentence(line, batch.minimum)) for line in preview.unpaid],
        }
    else:
        payouts = list(batch.payouts.select_related("referrer").order_by("pk"))
        open_ = [payout for payout in payouts if payout.state == Payout.State.CONFIRMED]
        context |= {
            "payouts": payouts,
            "open": open_,
            "parts": _parts(batch),
            "voidable": batch.state != PayoutBatch.State.VOID
            and all(payout.state != Payout.State.PAID for payout in payouts),
        }
    return TemplateResponse(request, "payouts/batch.html", context)


def batch_confirm(request: HttpRequest, pk: int) -> HttpResponse:
    """Freeze what the manager saw."""

    def confirm(batch: PayoutBatch, by: User) -> str:
        payouts = batches.batch_confirm(batch=batch, fingerprint=request.POST.get("fingerprint", ""), by=by)
        return ngettext(
            "%(count)d payout is confirmed. Download the file for the bank.",
            "%(count)d payouts are confirmed. Download the file for the bank.",
            len(payouts),
        ) % {"count": len(payouts)}

    return _change(request, pk, confirm)


def batch_void(request: HttpRequest, pk: int) -> HttpResponse:
    """End a batch of which nothing is paid."""

    def void(batch: PayoutBatch, by: User) -> str:
        batches.batch_void(batch=batch, reason=request.POST.get("reason", ""), by=by)
        return _("The batch is void; its commissions are free for the next one.")

    return _change(request, pk, void)


def batch_paid(request: HttpRequest, pk: int) -> HttpResponse:
    """Note that all the open payouts of a batch were transferred."""

    def paid(batch: PayoutBatch, by: User) -> str:
        payouts = list(batch.payouts.filter(state=Payout.State.CONFIRMED).values_list("pk", flat=True))
        return _paid(request, payouts, by)

    return _change(request, pk, paid)


def batch_file(request: HttpRequest, pk: int, kind: str) -> HttpResponse:
    """Give the file for the bank."""
    batch = _batch(request, pk, CHANGE)
    content, mime = (bank.bank_xlsx(batch), XLSX) if kind == "xlsx" else (bank.bank_csv(batch), "text/csv")
    response = HttpResponse(content, content_type=mime)
    response["Content-Disposition"] = f'attachment; filename="payouts-{batch.pk}.{kind}"'
    response["Cache-Control"] = "no-store"
    return response


def batch_results(request: HttpRequest, pk: int) -> HttpResponse:
    """Read the bank's results and show what they would change; with a token of that page, change it."""
    batch = _batch(request, pk, CHANGE)
    if request.method != "POST":
        return redirect("admin:payouts_payoutbatch_change", pk)
    if "token" in request.POST:
        return _change(request, pk, lambda batch, by: _apply(request, by))
    form = ResultsForm(request.POST, request.FILES)
    if not form.is_valid():
        messages.error(request, _complaints(form))
        return redirect("admin:payouts_payoutbatch_change", pk)
    read = bank.results_read(content=form.cleaned_data["file"].read(), batch=batch)
    payouts = {payout.pk: payout for payout in batch.payouts.select_related("referrer")}
    context = _context(request, _("Results from the bank"), batch) | {
        "read": read,
        "lines": [(result, payouts[result.payout]) for result in read.results],
    }
    return TemplateResponse(request, "payouts/results.html", context)


def payout_page(request: HttpRequest, pk: int) -> HttpResponse:
    """Show one payout: what it consists of, what became of it, what can be done."""
    payout = _payout(request, pk)
    context = _context(request, _("Payout %(payout)s") % {"payout": payout}, payout.batch) | {
        "payout": payout,
        "statement": select_statement(payout, lines=LINES_SHOWN),
        "left": max(0, payout.items.count() - LINES_SHOWN),
        "history": payout.events.select_related("by").order_by("pk"),
        "open": payout.state in (Payout.State.CONFIRMED, Payout.State.FAILED),
    }
    return TemplateResponse(request, "payouts/payout.html", context)


def payout_change(request: HttpRequest, pk: int, to: str) -> HttpResponse:
    """Note that a payout was transferred, was not, or is void."""
    payout = _payout(request, pk)

    def change(batch: PayoutBatch, by: User) -> str:
        reason = request.POST.get("reason", "")
        if to == Payout.State.PAID:
            return _paid(request, [payout.pk], by)
        if to == Payout.State.FAILED:
            batches.payout_mark_failed(payout=payout.pk, reason=reason, by=by)
            return _("Noted. The commissions stay in this payout until it is paid after all or made void.")
        batches.payout_void(payout=payout.pk, reason=reason, by=by)
        return _("The payout is void; its commissions are free for the next batch.")

    return _change(request, payout.batch_id, change, back=("admin:payouts_payout_change", pk))


def payout_statement(request: HttpRequest, pk: int) -> HttpResponse:
    """Show what a payout consists of, made to print."""
    payout = _payout(request, pk)
    return TemplateResponse(request, "payouts/statement.html", {"statement": select_statement(payout)})


def check_page(request: HttpRequest, pk: int) -> HttpResponse:
    """Show what a check of the ledger found."""
    if not request.user.has_perm("payouts.view_ledgercheck"):
        raise PermissionDenied
    check = get_object_or_404(LedgerCheck, pk=pk)
    context = {
        **admin.site.each_context(request),
        "title": _("Check of the ledger %(check)s") % {"check": check},
        "check": check,
        "findings": findings_of(check),
    }
    return TemplateResponse(request, "payouts/check.html", context)


def check_run(request: HttpRequest) -> HttpResponse:
    """Let the worker check the ledger now, wait for it, and lead to what it found.

    `after` is the last check before: the next one is the one that is waited for.
    """
    if not request.user.has_perm("payouts.view_ledgercheck"):
        raise PermissionDenied
    if request.method == "POST":
        last = LedgerCheck.objects.first()
        with suppress(AlreadyEnqueued), transaction.atomic():
            check_ledger_now.defer()
        return redirect(f"{request.path}?after={last.pk if last else 0}")
    if "after" not in request.GET:
        return redirect("admin:payouts_ledgercheck_changelist")
    checks = LedgerCheck.objects.filter(pk__gt=number_of(request.GET["after"])).order_by("pk")
    if (check := checks.first()) is not None:
        return redirect("admin:payouts_ledgercheck_change", check.pk)
    context = {**admin.site.each_context(request), "title": _("The ledger is being checked")}
    return TemplateResponse(request, "payouts/checking.html", context)


def number_of(object_id: str) -> int:
    """Return the number in an admin's address. Raises Http404 for what is none."""
    if not object_id.isdecimal() or len(object_id) > 18:
        raise Http404
    return int(object_id)


def _apply(request: HttpRequest, by: User) -> str:
    try:
        paid, failed = bank.results_apply(token=request.POST["token"], by=by)
    except signing.BadSignature:
        raise batches.PayoutError(_("This page is too old: upload the file again.")) from None
    return _("Noted: %(paid)d paid, %(failed)d not transferred.") % {"paid": paid, "failed": failed}


def _paid(request: HttpRequest, payouts: list[int], by: User) -> str:
    form = PaidForm(request.POST)
    if not form.is_valid():
        raise batches.PayoutError(_complaints(form))
    count = batches.payouts_mark_paid(payouts=payouts, by=by, **form.cleaned_data)
    return ngettext("%(count)d payout is paid.", "%(count)d payouts are paid.", count) % {"count": count}


def _complaints(form: Form) -> str:
    return " ".join(str(text) for texts in form.errors.values() for text in texts)


def _change(
    request: HttpRequest,
    pk: int,
    change: Callable[[PayoutBatch, User], str],
    back: tuple[str, int] | None = None,
) -> HttpResponse:
    """Run a change by POST in one transaction, again where it met a deadlock; tell how it went, go back to the page."""
    batch = _batch(request, pk, CHANGE)
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    assert isinstance(request.user, User)  # _batch asked for a permission
    try:
        messages.success(request, in_transaction(partial(change, batch, request.user)))
    except batches.PayoutError as error:
        messages.error(request, str(error))
    return redirect(*(back or ("admin:payouts_payoutbatch_change", pk)))


def _context(request: HttpRequest, title: str, batch: PayoutBatch) -> dict[str, Any]:
    states = set(batch.payouts.values_list("state", flat=True).distinct())
    return {
        **admin.site.each_context(request),
        "title": title,
        "batch": batch,
        "status": wording.batch_status(batch, states),
        "events": batch.events.filter(payout=None).select_related("by").order_by("pk"),
        "labels": {state: label(str(state.label), STATE_COLOURS[state]) for state in Payout.State},
        "may_change": request.user.has_perm(CHANGE),
        "today": today(),
    }


def _parts(batch: PayoutBatch) -> list[tuple[str, int, str]]:
    """Return (state's title, number, sum) of a batch's payouts, states without any left out."""
    rows = {
        row["state"]: row for row in batch.payouts.order_by().values("state").annotate(n=Count("pk"), sum=Sum("amount"))
    }
    return [(str(state.label), rows[state]["n"], money(rows[state]["sum"])) for state in Payout.State if state in rows]


def _batch(request: HttpRequest, pk: int, permission: str) -> PayoutBatch:
    if not request.user.has_perm(permission):
        raise PermissionDenied
    return get_object_or_404(PayoutBatch.objects.select_related("created_by"), pk=pk)


def _payout(request: HttpRequest, pk: int) -> Payout:
    if not request.user.has_perm(VIEW):
        raise PermissionDenied
    return get_object_or_404(Payout.objects.select_related("batch", "referrer"), pk=pk)
