from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
import time_machine
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import bodies
from tests.amocrm_server import Bad, FakeAmoCrm
from tests.bodies import LOST, OPEN, PIPELINE, WON
from traffic.models import Sale, SalesNotification
from webhooks import inbox, reconciliation, tasks
from webhooks.amocrm import api
from webhooks.amocrm.api import Api
from webhooks.models import ApiState, Deal, Reconciliation, ReconciliationFinding, WebhookDelivery

pytestmark = pytest.mark.django_db
NOW = datetime.now(UTC).replace(microsecond=0)
# Today, and long enough ago that every hook has come.
T = int((NOW - timedelta(hours=2)).timestamp())


@pytest.fixture
def amo(crm: FakeAmoCrm, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.setattr(api, "INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr("tests.amocrm_server.ALLOWED_A_SECOND", 10_000)
    with Api() as client:
        yield client


def arrive(body: bytes, **fields: Any) -> None:
    WebhookDelivery.objects.create(**{"source": "amocrm", "content_type": bodies.FORM, "body": body, **fields})
    drain()


def drain() -> None:
    while inbox.process_due():
        pass


def run(**options: Any) -> str:
    out = StringIO()
    call_command("reconcile_amocrm", stdout=out, **options)
    drain()
    return out.getvalue()


def findings() -> list[tuple[int, str]]:
    return list(ReconciliationFinding.objects.order_by("lead_id", "at").values_list("lead_id", "kind"))


def win(crm: FakeAmoCrm, lead_id: int, *, at: int = T, **fields: Any) -> None:
    crm.put(lead_id, at=at - 60, status=OPEN)
    crm.put(lead_id, at=at, status=WON, **fields)


@pytest.fixture
def connected() -> None:
    """The hook has been there for long."""
    arrive(bodies.hook(99, status=OPEN, at=T - 10**6), received_at=NOW - timedelta(days=400))


def test_a_dropped_hook_is_found_its_sale_dated_and_told_once(crm: FakeAmoCrm, amo: Api, connected: None):
    win(crm, 1, price=50_000, name="Курс", utm_campaign="tripwire_1")
    said = run()
    assert "deal 1: no hook of won" in said
    assert said.endswith("1 deals compared, 1 corrected, 1 hooks missed\n")
    sale = Sale.objects.get()
    assert (sale.sale_amount, sale.targetologist_id, sale.sale_date.timestamp()) == (50_000, "kenesary", T)
    assert SalesNotification.objects.count() == 1
    assert findings() == [(1, "won")]
    assert run().endswith("1 deals compared, 0 corrected, 0 hooks missed\n")
    assert findings() == [(1, "won")]
    assert SalesNotification.objects.count() == 1


def test_a_dry_run_says_it_and_writes_nothing(crm: FakeAmoCrm, amo: Api, connected: None):
    win(crm, 1)
    assert run(dry_run=True).endswith("1 deals compared, 1 to correct, 1 hooks missed\n")
    assert not Sale.objects.exists()
    assert not Reconciliation.objects.exists()
    assert not ReconciliationFinding.objects.exists()


def test_what_was_edited_in_amocrm_is_edited_here(crm: FakeAmoCrm, amo: Api, connected: None):
    arrive(bodies.hook(1, at=T, price=5, name="n", utm_source="old", utm_campaign="tripwire"))
    win(crm, 1, price=7, name="n")
    run()
    deal = Deal.objects.get(pk=1)
    assert (deal.price, deal.utm_source, deal.utm_campaign) == (7, "", "")
    assert findings() == [(1, "differs")]


def test_a_sale_that_amocrm_does_not_have_in_won_is_looked_at(crm: FakeAmoCrm, amo: Api, connected: None):
    arrive(bodies.hook(1, at=T))
    crm.put(1, at=T - 10**6, status=OPEN)
    crm.put(1, at=T + 60, status=OPEN, price=1)
    crm.events.clear()
    run()
    assert Sale.objects.get().state == "reversed"


def test_a_deal_gone_from_amocrm_is_reported_and_its_sale_left(crm: FakeAmoCrm, amo: Api, connected: None):
    arrive(bodies.hook(1, at=T))
    assert "deal 1: AmoCRM does not have it" in run()
    assert findings() == [(1, "gone")]
    assert Sale.objects.get().state == "won"


def test_a_dropped_deletion_takes_the_sale_back(crm: FakeAmoCrm, amo: Api, connected: None):
    win(crm, 1)
    arrive(bodies.hook(1, at=T))
    crm.delete(1, at=T + 60)
    crm.put(2, at=T - 10**6)
    crm.delete(2, at=T + 60)
    run()
    assert Sale.objects.get().state == "reversed"
    assert findings() == [(1, "deleted")]


def test_a_referral_is_compared_in_every_pipeline(crm: FakeAmoCrm, amo: Api, connected: None):
    from referrals.models import Conversion

    crm.pipelines = [PIPELINE, 5]
    win(crm, 1, pipeline=5, price=1000, utm_source="ref_dana")
    run()
    assert Conversion.objects.get().sale_amount == 1000


def test_history_from_before_the_first_hook_makes_no_message(crm: FakeAmoCrm, amo: Api):
    win(crm, 1)
    win(crm, 2, at=T - 400 * 86_400)
    said = run(since=str((NOW - timedelta(days=410)).date()))
    assert said.endswith("2 deals compared, 2 corrected, 2 hooks missed\n")
    assert Sale.objects.count() == 2
    assert not SalesNotification.objects.exists()
    arrive(bodies.hook(1, at=T, action="update"))
    assert not SalesNotification.objects.exists()


def test_an_interrupted_listing_is_no_shorter_list_and_the_run_goes_on(crm: FakeAmoCrm, amo: Api, connected: None):
    for number in range(1, 4):
        win(crm, number, at=T - number * 10 * 86_400)
    since = NOW - timedelta(days=42)
    begun = reconciliation.start_run(since=since, until=NOW)
    slices = reconciliation.reconcile(amo, begun)
    next(slices)
    next(slices)
    crm.will(Bad(504), path="/events")
    with pytest.raises(api.Unavailable):
        list(slices)
    begun.refresh_from_db()
    assert (begun.done_until, begun.ended_at) == (since + 2 * reconciliation.SLICE, None)
    assert "504" in begun.error
    crm.asked.clear()
    ApiState.objects.all().delete()
    again = reconciliation.start_run(since=since, until=NOW)
    assert again.pk == begun.pk
    rest = list(reconciliation.reconcile(amo, again))
    assert [found.since for found in rest] == [since + number * reconciliation.SLICE for number in range(2, 6)]
    drain()
    assert Sale.objects.count() == 3
    again.refresh_from_db()
    assert (again.error, again.missed, again.entered) == ("", 3, 3)
    assert again.ended_at is not None


def test_the_clock_compares_once_an_hour_and_leaves_no_gap(crm: FakeAmoCrm, amo: Api):
    with time_machine.travel(NOW, tick=False):
        tasks.reconcile(timestamp=0)
        tasks.reconcile(timestamp=0)
    first = Reconciliation.objects.get()
    assert (first.since, first.until) == (NOW - timedelta(days=3, minutes=5), NOW - timedelta(minutes=5))
    with time_machine.travel(NOW + timedelta(minutes=59), tick=False):
        tasks.reconcile(timestamp=0)
    assert Reconciliation.objects.count() == 1
    with time_machine.travel(NOW + timedelta(hours=5), tick=False):
        tasks.reconcile(timestamp=0)
    last = Reconciliation.objects.latest("pk")
    assert last.since < first.until < last.until
    assert last.ended_at is not None


def test_while_amocrm_is_away_the_clock_writes_why_and_goes_on_later(crm: FakeAmoCrm, amo: Api):
    crm.will(Bad(502))
    assert reconciliation.reconcile_due() is None
    begun = Reconciliation.objects.get()
    assert (begun.ended_at, "502" in begun.error) == (None, True)
    ApiState.objects.all().delete()
    assert reconciliation.reconcile_due() is not None
    assert Reconciliation.objects.exclude(ended_at=None).get().error == ""


def test_without_a_token_the_clock_does_nothing_and_the_command_says_so(crm: FakeAmoCrm, settings: Any):
    settings.AMOCRM_ACCESS_TOKEN = ""
    assert reconciliation.reconcile_due() is None
    assert crm.asked == []
    with pytest.raises(CommandError, match="AMOCRM_ACCESS_TOKEN"):
        run()


@pytest.mark.parametrize("options", [{"since": "yesterday"}, {"since": "2025-12-02", "until": "2025-12-01"}])
def test_a_time_that_is_none_is_refused(crm: FakeAmoCrm, options: dict[str, str]):
    with pytest.raises(CommandError):
        run(**options)


@pytest.mark.django_db(transaction=True)
def test_two_at_once_end_in_the_same_and_store_each_answer_once(crm: FakeAmoCrm, amo: Api, seeded: None):
    arrive(bodies.hook(99, status=OPEN, at=T - 10**6), received_at=NOW - timedelta(days=400))
    for number in range(1, 31):
        win(crm, number, price=number)
    failures: list[BaseException] = []

    def work(start: datetime) -> None:
        try:
            with Api() as own:
                for _ in reconciliation.reconcile(own, reconciliation.start_run(since=start, until=NOW)):
                    drain()
        except BaseException as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(NOW - timedelta(days=days),)) for days in (3, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert Sale.objects.count() == SalesNotification.objects.count() == 30
    assert ReconciliationFinding.objects.count() == 30
    assert sum(Reconciliation.objects.values_list("missed", flat=True)) == 30


STEPS = st.lists(
    st.tuples(st.sampled_from([OPEN, WON, LOST]), st.sampled_from([PIPELINE, 5]), st.integers(1, 9)),
    min_size=1,
    max_size=6,
)


@given(histories=st.lists(STEPS, min_size=1, max_size=4), chance=st.randoms(use_true_random=False))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_hooks_were_lost_doubled_or_late_the_deals_end_as_in_amocrm(
    crm: FakeAmoCrm, amo: Api, histories: list[Any], chance: random.Random
):
    """The stage, price and wins after a reconciliation are those of a system that missed nothing."""
    crm.leads.clear()
    crm.events.clear()
    crm.pipelines = [PIPELINE, 5]
    base = 10_000_000 * (1 + Deal.objects.count())
    hooks = []
    for number, history in enumerate(histories):
        lead_id = base + number
        crm.put(lead_id, at=T - 100, status=OPEN)
        for step, (status, pipeline, price) in enumerate(history):
            at = T + 10 * step
            crm.put(lead_id, at=at, status=status, pipeline=pipeline, price=price)
            hooks.append((lead_id, bodies.hook(lead_id, at=at, status=status, pipeline=pipeline, price=price)))
    come = [hook for hook in hooks for _ in range(chance.choice([0, 1, 1, 2]))]
    chance.shuffle(come)
    for _, body in come:
        WebhookDelivery.objects.create(source="amocrm", content_type=bodies.FORM, body=body)
    drain()
    list(reconciliation.reconcile(amo, reconciliation.start_run(since=NOW - timedelta(days=1), until=NOW)))
    drain()
    second = list(reconciliation.reconcile(amo, reconciliation.start_run(since=NOW - timedelta(days=1), until=NOW)))
    assert [found.entered for found in second] == [0]
    for number, history in enumerate(histories):
        deal = Deal.objects.filter(pk=base + number).first()
        ever_won = any(status == WON for status, _, _ in history)
        if deal is None:
            assert not ever_won
            continue
        if not ever_won:
            continue
        status, pipeline, price = history[-1]
        assert (deal.status_id, deal.pipeline_id, deal.price) == (status, pipeline, price)
        standing: set[int] = set()
        for status, pipeline, _ in history:
            if status == WON:
                standing.add(pipeline)
            elif status == LOST:
                standing.clear()
            else:
                standing.discard(pipeline)
        assert {int(pipeline) for pipeline in deal.wins} == standing
