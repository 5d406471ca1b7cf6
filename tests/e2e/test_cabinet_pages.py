"""The cabinet as it looks: with nothing, with three and with two thousand sales; phone and desk, light and dark."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from django.utils import timezone

from notifications.models import TelegramChat
from referrals.cabinet import access, tokens
from referrals.cabinet.models import LandingPage, LinkedChat, OneTimeToken
from referrals.models import Conversion, Earning, Referrer
from referrals.payouts import batches
from referrals.payouts.models import BankDetails, Payout
from referrals.payouts.preview import select_preview
from tests.e2e.pages import DESK, PHONE, too_wide
from tests.onai_project.rows import make_user

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("seeded")]

LONG = "Счёт закрыт: https://bank.example.kz/refusals/" + "0123456789" * 8
HOLDS = ("", "", "", "ad_campaign", "self_referral", "inactive")
# Texts that are cut off, or that stand outside the card or the drawing that they belong to. An address to copy is in a
# field, which scrolls.
CUT = """() => [...document.querySelectorAll('body *')].filter(element => {
    const texts = [...element.childNodes].filter(node => node.nodeType === 3 && node.textContent.trim());
    if (!texts.length || element.tagName === 'title' || !element.getClientRects().length) return false;
    const style = getComputedStyle(element);
    if (style.overflowX !== 'visible' && element.scrollWidth > element.clientWidth + 1) return true;
    const frame = (element.closest('svg, .card, td, th') || document.documentElement).getBoundingClientRect();
    return texts.some(node => {
        const range = document.createRange();
        range.selectNodeContents(node);
        return [...range.getClientRects()].some(
            box => box.right > frame.right + 1 || box.left < frame.left - 1 || box.right > innerWidth + 1);
    });
}).map(element => `${element.tagName} ${element.textContent.trim().slice(0, 60)}`)"""


@pytest.fixture
def sellers() -> list[Referrer]:
    """Referrers with nothing, with three sales and with two thousand; the last one has payouts of all kinds."""
    LandingPage.objects.create(
        title="Курс «Нейросети для маркетолога» с поддержкой кураторов", url="https://example.kz/c"
    )
    sellers = []
    for count in (0, 3, 2_000):
        referrer = Referrer.objects.create(
            code=f"ref_{count}_{'long' * 20}", name=f"Александра-Виктория Константинопольская {count}", claimed=True
        )
        chat = TelegramChat.objects.create(chat_id=1000 + count, title="Дана", kind=TelegramChat.Kind.REFERRER)
        LinkedChat.objects.create(referrer=referrer, chat=chat)
        BankDetails.objects.create(referrer=referrer, recipient="Александра Тестова", account="+77010000001")
        sell(referrer, count)
        sellers.append(referrer)
    manager = make_user("refs")
    for age in (300, 200, 100, 60):
        cutoff = timezone.localdate() - timedelta(days=age)
        batch = batches.batch_create(cutoff=cutoff, minimum=Decimal(5_000), by=manager)
        seen = select_preview(cutoff=cutoff, minimum=batch.minimum)
        batches.batch_confirm(batch=batch, fingerprint=seen.fingerprint, by=manager)
    first, second, third, _confirmed = Payout.objects.filter(referrer=sellers[-1]).order_by("pk")
    batches.payouts_mark_paid(payouts=[first.pk, second.pk], paid_on=timezone.localdate(), by=manager)
    batches.payout_mark_failed(payout=third.pk, reason=LONG, by=manager)
    return sellers


def sell(referrer: Referrer, count: int) -> None:
    """Spread so many sales over a year, to now; every tenth was taken back."""
    now = timezone.now()
    conversions = Conversion.objects.bulk_create(
        Conversion(
            lead_id=count * 10_000 + number,
            lead_name="Айдар Нурланов",
            referrer=referrer,
            utm_source=referrer.code,
            sale_amount=Decimal(1_234_560),
            state="reversed" if number % 10 == 9 else "won",
            sale_date=now - timedelta(days=360) * (number / count),
            available_at=now - timedelta(days=360) * (number / count) + timedelta(days=14),
            hold_reason=HOLDS[number % len(HOLDS)],
        )
        for number in range(count)
    )
    Earning.objects.bulk_create(
        Earning(
            conversion=one,
            referrer=referrer,
            seq=seq,
            kind="accrual" if seq == 1 else "reversal",
            amount=123_456 if seq == 1 else -123_456,
            reason="the sale was taken back",
            available_at=one.available_at,
        )
        for one in conversions
        for seq in ((1, 2) if one.state == "reversed" else (1,))
    )


def enter(page: Page, url: str, referrer: Referrer) -> None:
    """Give the browser a session of the referrer's."""
    secret = access.session_begin(token=tokens.token_issue(referrer=referrer, purpose=OneTimeToken.Purpose.SIGN_IN))
    assert secret is not None
    page.context.add_cookies([{"name": access.COOKIE, "value": secret, "url": f"{url}{access.PATH}"}])


def faults(page: Page) -> list[str]:
    """Return what is too wide or cut at each size, light and dark, and where dark is as light as day."""
    found = []
    for size in (PHONE, DESK):
        page.set_viewport_size(size)
        grounds = set()
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            seen = [*too_wide(page), *page.evaluate(CUT)]
            found += [f"{page.url} {size['width']} {scheme}: {fault}" for fault in seen]
            grounds.add(page.evaluate("() => getComputedStyle(document.body).backgroundColor"))
        # A statement is paper.
        if len(grounds) != 2 and page.locator("[data-print]").count() == 0:
            found.append(f"{page.url}: one background, light and dark")
    return found


def test_nothing_is_cut_or_too_wide(page: Page, live_server, sellers, settings):
    settings.TELEGRAM_BOT_USERNAME = "our_bot"
    found = []
    page.goto("/r/in/")
    found += faults(page)
    for referrer in sellers:
        enter(page, live_server.url, referrer)
        addresses = ["/r/", "/r/sales/", "/r/payouts/", "/r/settings/"]
        addresses += [f"/r/sales/?status={status}" for status in ("failed", "reversed")]
        statements = Payout.objects.filter(referrer=referrer, state__in=["paid", "failed"])
        addresses += [f"/r/payouts/{pk}/" for pk in statements.values_list("pk", flat=True)]
        for address in addresses:
            page.goto(address)
            page.evaluate("() => document.querySelectorAll('details').forEach(one => one.open = true)")
            found += faults(page)
        page.goto("/r/sales/")
        shown = page.locator(".sales > li").count()
        assert shown == min(Conversion.objects.filter(referrer=referrer).count(), 50)
    assert not found, "\n".join(found)
