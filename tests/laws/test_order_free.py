"""Law 3 on the tables: the same stored deliveries, folded in any order, batches and number of times, end the same."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests import bodies
from tests.laws.conftest import TABLES
from tests.system import LiveSystem
from webhooks import inbox, transient
from webhooks.models import WebhookDelivery
from webhooks.transient import sqlstate

T0 = 1766217600
Stored = tuple[str, bytes]  # source, body

LEADS = st.integers(1, 3)
SECONDS = st.integers(0, 3).map(lambda second: T0 + second)
STATUSES = st.sampled_from([bodies.WON, bodies.WON, bodies.LOST, bodies.OPEN])
PIPELINES = st.sampled_from([bodies.PIPELINE, bodies.PIPELINE, 999])
PRICES = st.sampled_from([None, 0, 1000, 2000])
SOURCES = st.sampled_from([None, "ref_a", "ref_b", "kenesary", "facebook"])
DOORS = st.sampled_from(["amocrm_traffic", "amocrm_referral", "amocrm"])


@st.composite
def lead(draw: Any, index: int) -> dict[str, Any]:
    action = draw(st.sampled_from(["status", "status", "add", "update", "delete", "restore", "digital pipeline"]))
    fields: dict[str, Any] = {"status": draw(STATUSES), "pipeline": draw(PIPELINES)}
    if action == "digital pipeline":
        action = draw(st.sampled_from(["status", "add"]))
    elif action != "delete":
        fields |= {"at": draw(SECONDS), "price": draw(PRICES), "name": draw(st.sampled_from([None, "a", "b"]))}
        if source := draw(SOURCES):
            fields["utm_source"] = source
    return bodies.lead_pairs(draw(LEADS), action=action, index=index, **fields)


@st.composite
def hook_bodies(draw: Any) -> Stored:
    pairs: dict[str, Any] = {}
    for index in range(draw(st.integers(1, 3))):
        pairs |= draw(lead(index))
    return draw(DOORS), bodies.form(pairs)


@st.composite
def api_answers(draw: Any) -> Stored:
    utm = {"utm_source": source} if (source := draw(SOURCES)) else {}
    at = draw(SECONDS)
    answer = bodies.api_lead(
        draw(LEADS), at=at, status=draw(STATUSES), pipeline=draw(PIPELINES), price=draw(PRICES),
        closed_at=draw(st.none() | st.just(at)), is_deleted=draw(st.booleans()), **utm,
    )  # fmt: skip
    return "amocrm_api", bodies.answer(answer)


logs = st.lists(hook_bodies() | hook_bodies() | api_answers(), min_size=1, max_size=7)

# What must be equal. Reversed conversions may or may not be there for a deal that was won only in passing.
OUTCOME = {
    "deals": "SELECT lead_id, name, price, status_id, pipeline_id, utm_source, contact_id, closed_at, won_at, wins, "
    "past_wins, is_deleted, needs_check, merge FROM deals",
    "transitions": "SELECT lead_id, at, timed, rank, status_id, pipeline_id, delivery_id, index, seen_at "
    "FROM deal_transitions",
    "sales": "SELECT lead_id, lead_name, sale_amount, utm_source, pipeline_id, status_id, channel, targetologist, "
    "matched_rule_id, funnel_type, sale_date, moved, win_number, state FROM all_sales_tracking",
    "conversions": "SELECT conversion.lead_id, referrer.code, conversion.sale_amount, conversion.sale_date, "
    "conversion.pipeline_id, conversion.moved FROM referral_conversions AS conversion "
    "JOIN referrers AS referrer ON referrer.id = conversion.referrer_id WHERE conversion.state = 'won'",
    "balances": "SELECT referrer.code, conversion.lead_id, sum(earning.amount) FROM referral_earnings AS earning "
    "JOIN referrers AS referrer ON referrer.id = earning.referrer_id "
    "JOIN referral_conversions AS conversion ON conversion.id = earning.conversion_id "
    "GROUP BY 1, 2 HAVING sum(earning.amount) <> 0",
    "log": "SELECT delivery_id, index, action, lead_id, status_id, deal_data FROM webhook_logs",
}


def rows_of(log: Sequence[Stored]) -> list[WebhookDelivery]:
    """Return deliveries that arrived a second apart, with ids of their own: both are part of the log."""
    arrived = datetime.fromtimestamp(T0 + 1, UTC)
    return [
        WebhookDelivery(
            id=number, source=source, body=body, received_at=arrived + timedelta(seconds=number),
            content_type="application/json" if source == "amocrm_api" else bodies.FORM,
        )
        for number, (source, body) in enumerate(log, start=1)
    ]  # fmt: skip


def store(log: Sequence[Stored]) -> list[int]:
    return [row.pk for row in WebhookDelivery.objects.bulk_create(rows_of(log))]


def outcome() -> dict[str, list[Any]]:
    result = {}
    with connection.cursor() as cursor:
        for name, query in OUTCOME.items():
            cursor.execute(query)
            result[name] = sorted(cursor.fetchall(), key=repr)
    return result


def folded(log: Sequence[Stored], batches: Sequence[Sequence[int]]) -> dict[str, list[Any]]:
    """Return the outcome of processing these positions of the log, batch by batch, on empty tables."""
    with transaction.atomic():
        ids = store(log)
        for batch in batches:
            inbox.process(sorted({ids[position] for position in batch}))
        result = outcome()
        transaction.set_rollback(True)
    return result


@st.composite
def ways(draw: Any, size: int) -> list[list[int]]:
    """Some way to process `size` deliveries: shuffled, repeated, cut into batches."""
    order = draw(st.permutations(range(size))) + draw(st.lists(st.integers(0, size - 1), max_size=3))
    batches, start = [], 0
    while start < len(order):
        length = draw(st.integers(1, len(order) - start))
        batches.append(order[start : start + length])
        start += length
    return batches


def check(log: list[Stored], batches: list[list[int]]) -> None:
    one_by_one = folded(log, [[position] for position in range(len(log))])
    assert folded(log, batches) == one_by_one


@pytest.mark.django_db
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.data())
def test_any_order_any_batches_any_number_of_times(data: Any):
    log = data.draw(logs)
    check(log, data.draw(ways(len(log))))


@pytest.mark.long
@pytest.mark.django_db
@settings(max_examples=5000, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.data())
def test_any_order_any_batches_any_number_of_times_for_long(data: Any):
    log = data.draw(logs)
    check(log, data.draw(ways(len(log))))


HISTORIES = {
    "same-second won, reopened, won re-sent": [
        bodies.hook(1, at=T0), bodies.hook(1, at=T0, status=bodies.OPEN), bodies.hook(1, at=T0),
    ],
    "restore with an old last_modified": [
        bodies.hook(1, at=T0), bodies.hook(1, action="delete"), bodies.hook(1, action="restore", at=T0),
    ],
    "a win told only by Digital Pipeline": [bodies.hook(1, at=T0, status=bodies.OPEN, price=5), bodies.hook(1)],
    "a price edit nine days after the win": [
        bodies.hook(1, at=T0, price=5), bodies.hook(1, action="update", at=T0 + 2, price=9),
    ],
    "won, lost, won": [
        bodies.hook(1, at=T0, price=5, utm_source="ref_a"), bodies.hook(1, at=T0 + 1, status=bodies.LOST),
        bodies.hook(1, at=T0 + 2),
    ],
    "142 to 142 of another pipeline": [bodies.hook(1, at=T0), bodies.hook(1, at=T0 + 1, pipeline=999)],
    "142, an open stage elsewhere, 143": [
        bodies.hook(1, at=T0), bodies.hook(1, at=T0 + 1, pipeline=999, status=bodies.OPEN),
        bodies.hook(1, at=T0 + 2, pipeline=999, status=bodies.LOST),
    ],
}  # fmt: skip


@pytest.mark.django_db
@pytest.mark.parametrize("name", HISTORIES)
def test_the_named_histories_in_every_order(name: str):
    log = [("amocrm_traffic", body) for body in HISTORIES[name]]
    outcomes = [folded(log, [[position] for position in order]) for order in permutations(range(len(log)))]
    assert all(one == outcomes[0] for one in outcomes)
    assert outcomes[0]["deals"]


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("deliveries", [600, pytest.param(10_000, marks=pytest.mark.long)])
def test_two_workers_at_once_end_as_one_does(deliveries: int, monkeypatch: pytest.MonkeyPatch):
    chance = random.Random(1)
    log = [
        (
            chance.choice(("amocrm_traffic", "amocrm_referral")),
            bodies.hook(
                chance.randint(1, 200),
                at=T0 + chance.randint(0, 50),
                status=chance.choice((bodies.WON, bodies.WON, bodies.OPEN, bodies.LOST)),
                price=chance.randint(0, 9) * 500,
                utm_source=f"ref_{chance.randint(0, 4)}",
            ),
        )
        for _ in range(deliveries)
    ]
    expected = folded(log, [range(deliveries)])
    store(log)
    monkeypatch.setattr(inbox, "BATCH", 37)
    states: list[str] = []

    def noting_sqlstate(error: OperationalError) -> str:
        states.append(sqlstate(error))
        return states[-1]

    monkeypatch.setattr(transient, "sqlstate", noting_sqlstate)
    errors: list[BaseException] = []
    together = threading.Barrier(2)

    def work() -> None:
        try:
            together.wait(10)
            while inbox.process_due():
                pass
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert (errors, states) == ([], []), "they waited for each other in a circle"
    assert set(WebhookDelivery.objects.values_list("status", "attempts")) == {("processed", 1)}
    assert outcome() == expected


# It takes long, too: the other worker shall be at it at the same time.
WHO_WRITES = """
CREATE TABLE writers (name text);
CREATE FUNCTION who_writes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO writers VALUES (current_setting('application_name'));
    PERFORM pg_sleep(0.02);
    RETURN NULL;
END $$;
CREATE TRIGGER who_writes AFTER INSERT OR UPDATE ON deals EXECUTE FUNCTION who_writes();
"""


@pytest.mark.processes
@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("histories", [10, pytest.param(200, marks=pytest.mark.long)])
def test_two_worker_processes_end_as_one_by_one_does_whatever_arrives_in_whatever_order(
    histories: int, live_system: LiveSystem
):
    names = {"first", "second"}
    for name in names:
        live_system.start_worker(PGAPPNAME=name)

    @settings(max_examples=histories, phases=[Phase.generate])
    @given(st.lists(logs, min_size=6, max_size=6), st.integers(0, 2**32).map(random.Random))
    def check_with_workers(parts: list[list[Stored]], chance: random.Random) -> None:
        log = [stored for part in parts for stored in part]
        with connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {TABLES} CASCADE")
            # TRUNCATE of referrers would take the plans along, which may name a referrer.
            cursor.execute("DELETE FROM referrers")
        expected = folded(log, [[position] for position in range(len(log))])
        arriving = rows_of(log)
        chance.shuffle(arriving)
        while arriving:
            piece = [arriving.pop() for _ in range(min(len(arriving), chance.randint(1, 3)))]
            WebhookDelivery.objects.bulk_create(piece)
            time.sleep(chance.choice((0, 0.01, 0.03)))
        deadline = time.monotonic() + 20
        while WebhookDelivery.objects.exclude(status="processed").exists():
            assert time.monotonic() < deadline, "the workers did not come to an end"
            time.sleep(0.02)
        assert set(WebhookDelivery.objects.values_list("status", "attempts")) == {("processed", 1)}
        assert outcome() == expected

    with connection.cursor() as cursor:
        cursor.execute(WHO_WRITES)
        try:
            check_with_workers()
            cursor.execute("SELECT DISTINCT name FROM writers")
            assert {name for (name,) in cursor.fetchall()} >= names, "one of the workers did nothing"
        finally:
            cursor.execute("DROP TRIGGER who_writes ON deals; DROP FUNCTION who_writes; DROP TABLE writers")
