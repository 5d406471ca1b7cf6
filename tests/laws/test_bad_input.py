"""Laws 2 and 6: whatever is posted, never a 5xx, never a failing worker, always a row that says what happened."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest
from django.db import transaction
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import bodies
from tests.laws.conftest import OwnDatabase
from tests.system import LiveSystem
from traffic.models import Sale
from webhooks import deliveries, inbox
from webhooks.models import WebhookDelivery, WebhookLog

PATHS = ["/webhook/amocrm/traffic", "/webhook/amocrm/referral/", "/webhook/amocrm"]


def seeds() -> list[tuple[bytes, str]]:
    """Every body of our own, and every captured one where they are."""
    folders = [bodies.PAYLOADS, bodies.CAPTURED / "payloads"]
    files = sorted(path for folder in folders if folder.is_dir() for path in folder.iterdir())
    return [(path.read_bytes(), bodies.content_type(path.name)) for path in files]


BAD_VALUES = [
    b"NaN", b"1e999", b"-1", b"99999999999999999999999999", b"0", b"%00", b"%ff%fe", b"\xff", b"%ZZ", b"%", b"+", b"",
    b"253402300800", b"-62135596801", b"%D0", b"\x00", "\u2028".encode(), b"1.5", b"true", b"null", b"Infinity",
]  # fmt: skip


def cut(body: bytes, random: random.Random) -> bytes:
    return body[: random.randrange(len(body) + 1)]


def flip(body: bytes, random: random.Random) -> bytes:
    changed = bytearray(body)
    for _ in range(random.randrange(1, 8)):
        if changed:
            changed[random.randrange(len(changed))] = random.randrange(256)
    return bytes(changed)


def replace_a_value(body: bytes, random: random.Random) -> bytes:
    spots = list(re.finditer(rb"(?<==)[^&]*|(?<=: )\"[^\"]*\"", body))
    if not spots:
        return body
    spot = random.choice(spots)
    return body[: spot.start()] + random.choice(BAD_VALUES) + body[spot.end() :]


def double_a_pair(body: bytes, random: random.Random) -> bytes:
    pairs = body.split(b"&")
    return b"&".join([*pairs, random.choice(pairs), random.choice(pairs).split(b"=")[0] + b"=other"])


def collide(body: bytes, random: random.Random) -> bytes:
    key = random.choice(body.split(b"&")).split(b"=")[0]
    return body + b"&" + key + b"[b]=2&" + key.split(b"[")[0] + b"=1&leads=x&leads[status]=y"


def nest(body: bytes, random: random.Random) -> bytes:
    return body + b"&leads" + b"[status]" * random.randrange(200) + b"=1&leads[status][0][custom_fields]" + b"[0]" * 200


def many_fields(body: bytes, random: random.Random) -> bytes:
    return body + b"".join(b"&leads[status][0][f%d]=%d" % (number, number) for number in range(5000))


def huge_index(body: bytes, random: random.Random) -> bytes:
    return body.replace(b"[0]", b"[%d]" % random.choice([-1, 2**31, 10**40])) + b"&leads[add][]&leads[add][][id]=5"


MUTATIONS: list[Callable[[bytes, random.Random], bytes]] = [
    cut, flip, replace_a_value, replace_a_value, double_a_pair, collide, nest, huge_index,
]  # fmt: skip


def check(body: bytes, content_type: str, path: str) -> None:
    """Post a body, process it, and look for a row that says what happened."""
    with transaction.atomic():
        response = Client().generic("POST", path, body, content_type)
        assert response.status_code in (200, 400), response.content
        assert response.json()["success"] is (response.status_code == 200)
        while inbox.process_due():
            pass
        delivery = WebhookDelivery.objects.get()
        assert bytes(delivery.body or b"") == body
        if response.status_code == 400:
            assert delivery.status == "invalid"
            assert delivery.error_message == response.json()["error"]
        else:
            assert (delivery.status, delivery.error_message) == ("processed", ""), body
            logs = list(WebhookLog.objects.all())
            assert logs
            assert all(log.processing_status == "success" or log.error_message for log in logs)
        transaction.set_rollback(True)


def mutated(data: Any) -> tuple[bytes, str, str]:
    body, content_type = data.draw(st.sampled_from(seeds()))
    chance = data.draw(st.randoms(use_true_random=False))
    for mutation in data.draw(st.lists(st.sampled_from(MUTATIONS), min_size=1, max_size=3)):
        body = mutation(body, chance)
    return body, data.draw(st.sampled_from([content_type, bodies.FORM, ""])), data.draw(st.sampled_from(PATHS))


@pytest.mark.django_db
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.data())
def test_no_mutated_body_breaks_anything(data: Any):
    check(*mutated(data))


@pytest.mark.long
@pytest.mark.django_db
@settings(max_examples=20_000, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.data())
def test_no_mutated_body_breaks_anything_for_long(data: Any):
    check(*mutated(data))


@pytest.mark.django_db
@pytest.mark.parametrize("value", BAD_VALUES)
@pytest.mark.parametrize("field", ["id", "price", "status_id", "pipeline_id", "updated_at", "name"])
def test_every_bad_value_in_every_field(field: str, value: bytes):
    fields = {b"id": b"1", b"status_id": b"142", b"pipeline_id": b"10418746", b"updated_at": b"1766217600"}
    fields[field.encode()] = value
    check(b"&".join(b"leads[status][0][%s]=%s" % pair for pair in fields.items()), bodies.FORM, PATHS[0])


@pytest.mark.django_db
@pytest.mark.parametrize("mutation", [many_fields, nest, collide, huge_index])
def test_big_and_deep_bodies(mutation: Callable[[bytes, random.Random], bytes]):
    check(mutation(bodies.payload("won-status-coded-utm.txt"), random.Random(1)), bodies.FORM, PATHS[0])


@pytest.mark.django_db
def test_a_mebibyte_of_deals_in_one_body():
    body = b"&".join(b"leads[add][%d][id]=%d" % (number, number + 1) for number in range(30_000))[: 1024 * 1024]
    check(body, bodies.FORM, PATHS[0])


@pytest.mark.django_db
def test_one_poison_among_500_good_ones(monkeypatch: pytest.MonkeyPatch):
    now = int(time.time())
    stored = [
        WebhookDelivery.objects.create(
            source="amocrm_traffic", body=bodies.hook(lead, at=now), content_type=bodies.FORM
        ).pk
        for lead in range(1, 502)
    ]
    poison = stored[250]
    whole = deliveries.lock_deliveries

    def poisoned(ids: Sequence[int]) -> Any:
        if poison in ids:
            raise MemoryError("poison")
        return whole(ids)

    monkeypatch.setattr(inbox, "BATCH", 501)
    monkeypatch.setattr(inbox, "lock_deliveries", poisoned)
    started = time.monotonic()
    inbox.process_due()
    assert Sale.objects.count() == 500
    assert time.monotonic() - started < 10
    assert list(WebhookDelivery.objects.exclude(status="processed").values_list("pk", "status")) == [(poison, "failed")]
    monkeypatch.undo()
    inbox.process_again([poison])
    inbox.process_due()
    assert Sale.objects.count() == 501


@pytest.mark.processes
@pytest.mark.timeout(280)
def test_mutated_bodies_over_http_leave_web_and_worker_well(own_database: OwnDatabase, system: LiveSystem):
    web, worker = system.start_web(), system.start_worker()
    chance = random.Random(7)
    count = 300
    with httpx.Client(timeout=10) as client:
        for number in range(count):
            body, content_type = chance.choice(seeds())
            for mutate in chance.sample(MUTATIONS, chance.randrange(3)):
                body = mutate(body, chance)
            answer = client.post(web.url + chance.choice(PATHS), content=body, headers={"Content-Type": content_type})
            assert answer.status_code in (200, 400), (number, answer.text)
    unprocessed = "SELECT count(*) FROM webhook_deliveries WHERE status NOT IN ('processed', 'invalid')"
    deadline = time.monotonic() + 60
    while own_database.value(unprocessed):
        assert time.monotonic() < deadline, own_database.rows(
            "SELECT status, count(*) FROM webhook_deliveries GROUP BY 1"
        )
        time.sleep(0.1)
    assert own_database.value("SELECT count(*) FROM webhook_deliveries") == count
    assert worker.process.poll() is None
    assert web.process.poll() is None
    assert b"Traceback" not in worker.log.read_bytes()
