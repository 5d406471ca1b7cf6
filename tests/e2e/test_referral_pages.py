"""The referral manager's pages, full, on a phone and on a desk: nothing scrolls sideways, no console complains."""

from __future__ import annotations

import os
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from django.utils import timezone

from onai_project import roles
from referrals.models import Conversion, Referrer
from referrals.payouts import batches
from referrals.payouts.models import BankDetails, Payout, PayoutBatch
from referrals.payouts.preview import select_preview
from tests.e2e.pages import DESK, PHONE, sign_in, too_wide
from tests.onai_project.rows import make_conversion, make_user

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("seeded")]

NAMES = ("Айгерим Сейтжанова-Константинопольская", "Дана", "Мухаммедали Абдрахманов", "ТОО «Очень длинное название»")
# A code may be as long as its owner likes, without a place to break it.
LONG = "ref_instagram_stories_aigerim_seitzhanova_2026_november_week_48"


@pytest.fixture
def manager(transactional_db: None) -> User:
    roles.create_roles()
    return make_user("refs", role=roles.REFERRAL_MANAGER)


@pytest.fixture
def paid(manager: User) -> PayoutBatch:
    """Four referrers with sales of two months, a batch of which one is paid, one refused and one void; holds and codes
    that nobody has claimed."""
    long_ago = timezone.now() - timedelta(days=30)
    for number, name in enumerate(NAMES):
        code = LONG if number == 0 else f"ref_{number}"
        referrer = Referrer.objects.create(code=code, name=name, claimed=True)
        BankDetails.objects.create(
            referrer=referrer,
            recipient="Константинопольская Айгерим",
            account="KZ86125KZT5004100100",
            iin="900101300017",
        )
        sold = {"sale_amount": Decimal(1_234_560), "lead_name": "Курс «Искусственный интеллект с нуля до профи»"}
        for day in range(8):
            make_conversion(100 * number + day, referrer, when=long_ago + timedelta(days=3 * day), **sold)
        hold = ("self_referral", "ad_campaign")[number % 2]
        make_conversion(100 * number + 50, referrer, when=long_ago, hold_reason=hold, campaign_owner="Kenesary 👑")
    for number in range(25):
        make_conversion(1000 + number, Referrer.objects.create(code=f"ref_{'неизвестный_код_' * 3}{number}"),
                        hold_reason="unclaimed")  # fmt: skip
    batch = confirmed(manager, timezone.localdate() - timedelta(days=8))
    first, second, third, _left = Payout.objects.order_by("pk")
    batches.payouts_mark_paid(payouts=[first.pk], paid_on=timezone.localdate(), by=manager, reference="П-17")
    batches.payout_mark_failed(payout=second.pk, reason="Счёт получателя закрыт, деньги вернулись", by=manager)
    batches.payout_void(payout=third.pk, reason="Не те реквизиты", by=manager)
    return batch


def confirmed(manager: User, cutoff: date) -> PayoutBatch:
    batch = batches.batch_create(cutoff=cutoff, minimum=Decimal(5000), by=manager)
    seen = select_preview(cutoff=batch.cutoff, minimum=batch.minimum)
    batches.batch_confirm(batch=batch, fingerprint=seen.fingerprint, by=manager)
    return batch


def addresses(paid: PayoutBatch, manager: User) -> dict[str, str]:
    draft = batches.batch_create(cutoff=timezone.localdate(), minimum=Decimal(5000), by=manager)
    held = Conversion.objects.filter(hold_reason="self_referral").latest("pk")
    dashboard = reverse("referral-dashboard")
    month = f"?from={timezone.localdate() - timedelta(days=31)}&to={timezone.localdate()}"
    payout = Payout.objects.earliest("pk")
    return {
        "dashboard": dashboard + month,
        "one-referrer": f"{dashboard}{month}&referrer={LONG}",
        "entries": reverse("referral-dashboard-entries") + month,
        "held": reverse("admin:referrals_conversion_changelist") + "?decision=waiting&o=0",
        "unclaimed": reverse("admin:referrals_referrer_changelist") + "?claimed__exact=0",
        "draft": reverse("admin:payouts_payoutbatch_change", args=[draft.pk]),
        "batch": reverse("admin:payouts_payoutbatch_change", args=[paid.pk]),
        "payout": reverse("admin:payouts_payout_change", args=[payout.pk]),
        "statement": reverse("admin:payouts_payout_statement", args=[payout.pk]),
        "conversion": reverse("admin:referrals_conversion_change", args=[held.pk]),
        "decide": reverse("admin:referrals_conversion_decide", args=[held.pk, "reject"]),
        "recalculate": reverse("admin:referrals_recalculate"),
    }


def look(page: Page, name: str) -> list[str]:
    """Return what is too wide on a page, at either size; with LOOK=/a/directory leave pictures there."""
    found = []
    for size in (PHONE, DESK):
        page.set_viewport_size(size)
        if os.environ.get("LOOK"):
            page.screenshot(path=Path(os.environ["LOOK"]) / f"{name}-{size['width']}.png", full_page=True)
        found += [f"{name} {size['width']}: {element}" for element in too_wide(page)]
    return found


def test_the_pages_of_the_referral_manager_fit_a_phone_and_a_desk(page, paid, manager):
    sign_in(page, "refs")
    found = []
    for name, address in addresses(paid, manager).items():
        answer = page.goto(address)
        assert answer is not None
        assert answer.status == 200, name
        found += look(page, name)
    page.goto(reverse("admin:payouts_payoutbatch_change", args=[paid.pk]))
    left = Payout.objects.get(state="confirmed")
    table = f"Выплата;Результат;Причина\n{left.pk};отказ;Имя получателя не совпадает с именем владельца счёта в банке"
    page.set_input_files("#results", {"name": "r.csv", "mimeType": "text/csv", "buffer": table.encode()})
    page.get_by_role("button", name="Проверить результаты").click()
    page.get_by_role("button", name="Записать 1 результат").wait_for()
    found += look(page, "results")
    page.goto(reverse("admin:referrals_referrer_import"))
    people = f"код;имя\n{LONG}_2;Айгерим Сейтжанова-Константинопольская\n;Дана"
    page.set_input_files("[name=file]", {"name": "p.csv", "mimeType": "text/csv", "buffer": people.encode()})
    page.locator("main form button, #content form button").first.click()
    page.get_by_text(f"{LONG}_2").wait_for()
    found += look(page, "import")
    assert found == []
