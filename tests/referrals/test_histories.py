"""Balances equal the fold of the final state: whatever happened to several deals of the same referrers, customers and
months, in whatever order, by whomever at once. The expectation is computed here, without the code under test."""

from __future__ import annotations

import random
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from referrals import decisions
from referrals.decisions import Undecidable
from referrals.models import CommissionPlan, Conversion, Decision, Earning, Referrer, ReferrerGroup
from referrals.payouts.checks import CHECKS
from referrals.payouts.preview import select_preview
from referrals.plans import plan_change
from referrals.referrers import referrer_save
from tests import bodies
from tests.referrals.helpers import answer, balances, make_plan, store, won
from webhooks import inbox
from webhooks.deals import lock_deals
from webhooks.models import Deal, WebhookDelivery

ALMATY = ZoneInfo("Asia/Almaty")
# Two seconds before the end of June in Almaty and two after it: sales move between months.
MIDNIGHT = 1_751_310_000
MIDNIGHT_DAY = date(2025, 7, 1)
DAY, HOLD = timedelta(days=1), timedelta(days=14)
RATES = (100, 250, 400, 700)
TABLES = (
    "webhook_deliveries, webhook_logs, deals, deal_transitions, all_sales_tracking, sales_notifications, "
    "referral_decisions, referral_earnings, referral_conversions, commission_plans, "
    "referrers, referrer_groups, auth_user"
)

LEADS = st.integers(1, 6)
MOMENTS = st.integers(-4, 4).map(lambda second: MIDNIGHT + second)
SOURCES = ["ref_a", "ref_a", "ref_b", "ref_c", "facebook"]
CODES = st.sampled_from(SOURCES)
PRICES = st.sampled_from([0, 1000, 33_335, 90_000])
STATUSES = st.sampled_from([bodies.WON, bodies.WON, bodies.WON, bodies.LOST, bodies.OPEN])
HOOKS = st.builds(won, LEADS, at=MOMENTS, status=STATUSES, price=st.none() | PRICES, utm_source=CODES)
ANSWERS = st.builds(
    answer, LEADS, at=MOMENTS, contact=st.none() | st.integers(1, 2), status=STATUSES, price=PRICES, utm_source=CODES
)
REASON = "because"
SUMS = st.integers(1, 40_000).map(Decimal)
PERCENTS = [5, 10, 20]
JUDGEMENTS = st.one_of(
    st.tuples(st.just("change"), st.sampled_from(PERCENTS)),
    st.tuples(st.just("recalculate"), st.none()),
    st.tuples(st.just("claim"), st.none()),
    st.tuples(st.just(decisions.conversion_reject), LEADS, st.none()),
    st.tuples(st.just(decisions.conversion_reopen), LEADS, st.none()),
    st.tuples(st.just(decisions.conversion_refund), LEADS, SUMS),
    st.tuples(st.just(decisions.conversion_correct), LEADS, SUMS),
)


def set_up() -> User:
    """Tiers for a group, a capped percent of first sales only for everyone, a fixed sum for one referrer."""
    group = ReferrerGroup.objects.create(name="group")
    Referrer.objects.create(code="ref_a", claimed=True, group=group)
    single = Referrer.objects.create(code="ref_c", claimed=True, group=group)
    make_plan("percent", 10, cap=5000, first_sale_only=True)
    make_plan("fixed_tiers", rates=RATES, group=group)
    make_plan("fixed", 777, referrer=single)
    return User.objects.create_user("manager")


def newest() -> CommissionPlan:
    """Return the version of everyone's plan that holds."""
    return CommissionPlan.objects.get(group=None, referrer=None, replaced_by=None, valid_to=None)


def recalculate(by: User, *, preview: bool = False) -> None:
    with suppress(Undecidable):
        decisions.conversions_recalculate(
            first=MIDNIGHT_DAY - DAY, last=MIDNIGHT_DAY + DAY, by=by, reason=REASON, preview=preview
        )


def claim() -> None:
    """Say whose the code is that nobody claimed: everyone's plan stays theirs."""
    referrer, _ = Referrer.objects.get_or_create(code="ref_b")  # a worker may be making it
    referrer.claimed = True
    referrer_save(referrer=referrer)


def decide(judgement: tuple[Any, ...], by: User, *, preview: bool = False) -> None:
    if judgement[0] == "recalculate":
        return recalculate(by, preview=preview)
    if judgement[0] in ("change", "claim"):
        if not preview:
            claim() if judgement[0] == "claim" else plan_change(plan=newest(), by=by, value=judgement[1])
        return None
    service, lead_id, amount = judgement
    if not Conversion.objects.filter(lead_id=lead_id).exists():
        return None
    fields = {} if amount is None else {"amount": amount}
    with suppress(Undecidable):
        service(lead_id=lead_id, by=by, reason=REASON, preview=preview, **fields)
    return None


class Earned(NamedTuple):
    """What a deal should have earned, for whom, and the Almaty day from which it can be paid."""

    code: str
    payable: date
    amount: int


class Kept(NamedTuple):
    """What decides that a sale keeps its version of everyone's plan, and that version's percent."""

    code: str
    day: date
    percent: int


def keep(kept: dict[int, Kept]) -> None:
    """Note by which version each sale earns: the one in force when it was first seen for this referrer and day."""
    percent = int(newest().value or 0)
    for deal in lock_deals(list(Deal.objects.values_list("lead_id", flat=True))):
        if (win := deal.win()) and deal.utm_source.startswith("ref_"):
            day = win.at.astimezone(ALMATY).date()
            if deal.lead_id not in kept or kept[deal.lead_id][:2] != (deal.utm_source, day):
                kept[deal.lead_id] = Kept(deal.utm_source, day, percent)


def move(kept: dict[int, Kept]) -> None:
    """Note that the sales that stand go over to the version in force."""
    standing = set(Conversion.objects.filter(state="won").values_list("lead_id", flat=True))
    percent = int(newest().value or 0)
    kept |= {lead_id: one._replace(percent=percent) for lead_id, one in kept.items() if lead_id in standing}


def expected(kept: dict[int, Kept]) -> dict[int, Earned]:
    """Return what each deal should have earned, from the states of the deals and the decisions alone."""
    decided: dict[tuple[int, str], list[Decision]] = defaultdict(list)
    for decision in Decision.objects.select_related("conversion", "referrer").order_by("pk"):
        decided[decision.conversion.lead_id, decision.referrer.code].append(decision)
    sales = []
    for deal in lock_deals(list(Deal.objects.values_list("lead_id", flat=True))):
        win = deal.win()
        if win is None:
            continue
        rejected, refunded, corrected = False, Decimal(0), Decimal(0)
        for decision in decided[deal.lead_id, deal.utm_source]:
            rejected = {"reject": True, "reopen": False}.get(decision.kind, rejected)
            refunded += decision.amount or 0 if decision.kind == "refund" else 0
            corrected += decision.amount or 0 if decision.kind == "correction" else 0
        if not rejected:
            sales.append((win.at, deal.lead_id, deal, refunded, corrected))
    sales.sort(key=lambda sale: sale[:2])
    by_referral = [sale for sale in sales if sale[2].utm_source.startswith("ref_")]
    months = Counter((deal.utm_source, month_of(at)) for at, _, deal, _, _ in by_referral)
    served: set[int] = set()
    result = {}
    for at, lead_id, deal, refunded, corrected in sales:
        count = months[deal.utm_source, month_of(at)]
        is_first = deal.contact_id is None or deal.contact_id not in served
        served |= {deal.contact_id} if deal.contact_id else set()
        if not deal.utm_source.startswith("ref_"):
            continue
        if deal.price is None or (refunded and refunded >= deal.price):
            earned = Decimal(0)
        elif deal.utm_source == "ref_a":
            earned = Decimal(RATES[0 if count < 3 else 1 if count < 5 else 2 if count < 8 else 3])
        elif deal.utm_source == "ref_c":
            earned = Decimal(777)
        else:
            percent = kept[lead_id].percent
            earned = min((deal.price - refunded) * percent / 100, Decimal(5000)) if is_first else Decimal(0)
        if total := int((earned + corrected).quantize(Decimal(1), ROUND_HALF_UP)):
            result[lead_id] = Earned(deal.utm_source, (at + HOLD).astimezone(ALMATY).date(), total)
    return dict(sorted(result.items()))


def month_of(at: datetime) -> tuple[int, int]:
    there = at.astimezone(ALMATY)
    return there.year, there.month


def payable(cutoff: date) -> dict[str, int]:
    """Return what a payout with this cut-off would pay, by code, if every code were claimed."""
    preview = select_preview(cutoff=cutoff, minimum=Decimal(1))
    return {line.referrer.code: int(line.payable) for line in [*preview.paid, *preview.unpaid] if line.payable}


def check(kept: dict[int, Kept]) -> None:
    earned = expected(kept)
    assert balances() == {lead_id: one.amount for lead_id, one in earned.items()}
    for cutoff in sorted({MIDNIGHT_DAY + HOLD - DAY, *(one.payable for one in earned.values())}):
        due: Counter[str] = Counter()
        for one in earned.values():
            due[one.code] += one.amount if one.payable <= cutoff else 0
        assert payable(cutoff) == {code: amount for code, amount in due.items() if amount}
    # Nobody has a balance on a deal that is another's, and no date's sum of a deal lies below nothing.
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.lead_id, e.referrer_id, sum(e.amount) FROM referral_earnings AS e "
            "JOIN referral_conversions AS c ON c.id = e.conversion_id "
            "WHERE e.referrer_id <> c.referrer_id GROUP BY 1, 2 HAVING sum(e.amount) <> 0"
        )
        assert cursor.fetchall() == []
        cursor.execute(
            "SELECT conversion_id, referrer_id, available_at FROM referral_earnings GROUP BY 1, 2, 3 "
            "HAVING sum(amount) < 0"
        )
        assert cursor.fetchall() == []
    assert [(one.name, example) for one in CHECKS for example in one.wrong()] == []


HISTORIES = st.lists(st.lists(HOOKS | ANSWERS | JUDGEMENTS, min_size=1, max_size=6), max_size=8)


def live_through(history: list[list[Any]]) -> None:
    with transaction.atomic():
        manager = set_up()
        kept: dict[int, Kept] = {}
        for batch in history:
            store(*(step for step in batch if isinstance(step, bytes)))
            inbox.process_due()
            keep(kept)
            for judgement in (step for step in batch if not isinstance(step, bytes)):
                decide(judgement, manager, preview=True)
                decide(judgement, manager)
                if judgement[0] == "recalculate":
                    move(kept)
            check(kept)
        assert not Earning.objects.filter(delivery=None, by=None).exists()
        transaction.set_rollback(True)


@pytest.mark.django_db
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(HISTORIES)
def test_balances_equal_the_fold_of_the_final_state(history: list[list[Any]]):
    live_through(history)


@pytest.mark.long
@pytest.mark.django_db
@settings(max_examples=2000, suppress_health_check=list(HealthCheck))
@given(HISTORIES)
def test_balances_equal_the_fold_of_the_final_state_for_long(history: list[list[Any]]):
    live_through(history)


@pytest.fixture
def hurried(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Small batches, so that workers meet often."""
    monkeypatch.setattr(inbox, "BATCH", 5)
    yield
    truncate()


def truncate() -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {TABLES} RESTART IDENTITY CASCADE")


def work_at_once(seed: int, deliveries: int) -> None:
    """Have two workers process the same inbox while a manager decides; then compare.

    Half of it is there before everyone's plan is changed, and sales move to the new version meanwhile.
    """
    truncate()
    manager = set_up()
    chance = random.Random(seed)
    history = []
    for _ in range(deliveries):
        fields: dict[str, Any] = {
            "at": MIDNIGHT + chance.randint(-4, 4),
            "status": chance.choice([bodies.WON, bodies.WON, bodies.LOST]),
            "price": chance.choice([1000, 33_335, 90_000]),
            "utm_source": chance.choice(
                ["ref_a", "ref_a", "ref_b", "ref_c", "facebook", f"ref_{chance.randint(1, 5)}"]
            ),
        }
        lead_id = chance.randint(1, 25)
        history.append(
            won(lead_id, **fields) if chance.random() < 0.5 else answer(lead_id, contact=chance.randint(1, 4), **fields)
        )
    store(*history[: deliveries // 2])
    process()
    plan_change(plan=newest(), by=manager, value=20)
    store(*history[deliveries // 2 :])
    errors: list[BaseException] = []

    def run(work: Any) -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    def judge() -> None:
        for _ in range(deliveries // 4):
            lead_id, amount = chance.randint(1, 25), Decimal(chance.randint(1, 40_000))
            judgements: list[tuple[Any, ...]] = [
                (decisions.conversion_reject, lead_id, None),
                (decisions.conversion_reopen, lead_id, None),
                (decisions.conversion_refund, lead_id, amount),
                (decisions.conversion_correct, lead_id, amount),
                ("recalculate", None),
                ("claim", None),
            ]
            decide(chance.choice(judgements), manager, preview=chance.random() < 0.3)

    threads = [threading.Thread(target=run, args=(work,)) for work in (process, process, judge)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    process()
    assert not WebhookDelivery.objects.exclude(status=WebhookDelivery.Status.PROCESSED).exists()
    # Which version a sale was seen under first was chance; now all of them have the new one.
    recalculate(manager)
    kept: dict[int, Kept] = {}
    keep(kept)
    check(kept)


def process() -> None:
    while inbox.process_due():
        pass


# Threads are never twice the same, so a smaller example would be by chance.
CHANCES = settings(suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.reuse, Phase.generate])


@pytest.mark.usefixtures("hurried")
@settings(CHANCES, max_examples=4)
@given(st.integers(0, 2**32))
def test_two_workers_and_a_manager_at_once(seed: int):
    work_at_once(seed, 80)


@pytest.mark.long
@pytest.mark.usefixtures("hurried")
@settings(CHANCES, max_examples=40)
@given(st.integers(0, 2**32))
def test_two_workers_and_a_manager_at_once_for_long(seed: int):
    work_at_once(seed, 500)
