"""Hooks are dropped, doubled, reordered and sparse, two workers run, AmoCRM blocks: in the end all is as in AmoCRM."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from django.core.management import call_command

from tests import bodies
from tests.amocrm_server import ALLOWED_A_SECOND, TOKEN, Bad, FakeAmoCrm
from tests.bodies import OPEN, WON
from tests.system import LiveSystem
from traffic.models import Sale, SalesNotification
from webhooks.models import ApiQuestion, Contact, Deal, Reconciliation, ReconciliationFinding, WebhookDelivery

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]
CAMPAIGNS = [("tripwire_17.12", "kenesary"), ("arystan_16.12", "arystan"), ("Proftest/alex", "traf4"), ("Random", None)]
# Every hook has come by now, and none of these sales is old.
NOW = int(time.time())
FROM, TO = NOW - 9000, NOW - 900


@dataclass(frozen=True)
class Size:
    """How many deals there are, and how many of them have this fault."""

    deals: int
    dropped: int
    doubled: int
    reordered: int
    sparse: int
    emptied: int
    block_seconds: float


SHORT = Size(deals=60, dropped=6, doubled=6, reordered=6, sparse=8, emptied=4, block_seconds=0)
FULL = Size(deals=1000, dropped=50, doubled=50, reordered=50, sparse=100, emptied=20, block_seconds=60)


@pytest.fixture
def crm(settings: Any) -> Iterator[FakeAmoCrm]:
    with FakeAmoCrm() as fake:
        settings.AMOCRM_BASE_URL, settings.AMOCRM_ACCESS_TOKEN = fake.url, TOKEN
        yield fake


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(SHORT, id="short"),
        pytest.param(FULL, id="full", marks=[pytest.mark.long, pytest.mark.timeout(900)]),
    ],
)
def test_after_one_reconciliation_everything_is_as_in_amocrm(
    seeded: None, live_system: LiveSystem, crm: FakeAmoCrm, size: Size
):
    chance = random.Random(4)
    deals = list(range(1, size.deals + 1))
    chance.shuffle(deals)
    faults = iter(deals)
    dropped, doubled, reordered, sparse, emptied = (
        {next(faults) for _ in range(count)}
        for count in (size.dropped, size.doubled, size.reordered, size.sparse, size.emptied)
    )
    hooks: list[bytes] = []
    for lead_id in sorted(deals):
        hooks += happens(crm, lead_id, chance, is_sparse=lead_id in sparse, in_order=lead_id not in reordered)
        if lead_id in dropped:
            del hooks[-2:]
        if lead_id in doubled:
            hooks += hooks[-2:]

    # The workers' clock has just compared: it is not to do the command's work.
    now = datetime.now(UTC)
    Reconciliation.objects.create(since=now, done_until=now, until=now, ended_at=now, is_periodic=True)
    environment: dict[str, Any] = {
        "AMOCRM_BASE_URL": crm.url,
        "AMOCRM_ACCESS_TOKEN": TOKEN,
        "AMOCRM_WEBHOOK_SECRETS": "s",
    }
    environment |= {"TELEGRAM_BOT_TOKEN": "", "DEBUG": "on"}
    web = live_system.start_web(**environment)
    for _ in range(2):
        live_system.start_worker(**environment)
    # The hook was there before these deals.
    post(web.url, bodies.hook(10**6, status=OPEN, at=FROM - 10**6, price=1, utm_source="x"))
    WebhookDelivery.objects.update(received_at=datetime.now(UTC) - timedelta(days=1))
    if size.block_seconds:
        crm.blocked_until = time.monotonic() + size.block_seconds
    else:
        crm.will(Bad(429), Bad(504), path="/leads")
    with ThreadPoolExecutor(4) as senders:
        assert set(senders.map(lambda body: post(web.url, body), hooks)) == {200}
    wait_for(is_settled, seconds=size.block_seconds + 180)
    assert Sale.objects.count() == size.deals - size.dropped
    if size.block_seconds:
        blocked = [asked for asked in crm.asked if asked.status == 403]
        assert 1 <= len(blocked) <= 5

    for lead_id in emptied:
        # No hook tells of a field that is edited.
        crm.leads[lead_id] |= {"custom_fields_values": None, "updated_at": TO + 60}
    since = datetime.fromtimestamp(FROM - 600, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    call_command("reconcile_amocrm", since=since)
    wait_for(is_settled, seconds=120)

    run = Reconciliation.objects.latest("pk")
    assert (run.deals, run.entered, run.missed) == (size.deals, size.dropped + size.emptied, size.dropped)
    for lead_id in deals:
        assert here(lead_id) == there(crm, lead_id)
    assert sorted(SalesNotification.objects.values_list("lead_id", flat=True)) == sorted(deals)
    missed = ReconciliationFinding.objects.filter(kind__in=["won", "added"])
    assert set(missed.values_list("lead_id", flat=True)) == dropped
    assert not Deal.objects.filter(pk__in=emptied).exclude(utm_campaign="").exists()
    assert WebhookDelivery.objects.exclude(status="processed").count() == 0

    call_command("reconcile_amocrm", since=since)
    entered = WebhookDelivery.objects.filter(source="amocrm_api").count()
    wait_for(is_settled, seconds=60)
    assert WebhookDelivery.objects.filter(source="amocrm_api").count() == entered
    assert crm.busiest_second() <= ALLOWED_A_SECOND
    asked = [one for one in crm.asked if one.status == 429]
    assert len(asked) <= 1  # the one that the short form asks for
    print(f"{len(hooks)} hooks, {len(crm.asked)} requests, at most {crm.busiest_second()} a second")


def happens(crm: FakeAmoCrm, lead_id: int, chance: random.Random, *, is_sparse: bool, in_order: bool) -> list[bytes]:
    """Let a deal be made and won in AmoCRM; return its two hooks."""
    at = chance.randrange(FROM, TO)
    campaign, _ = chance.choice(CAMPAIGNS)
    utm: dict[str, Any] = {"utm_source": "facebook", "utm_campaign": campaign}
    facts: dict[str, Any] = {"price": 1000 * lead_id, "name": f"Сделка {lead_id}"}
    crm.person(5000 + lead_id, f"Покупатель {lead_id}", f"+7 700 {lead_id:07d}", f"p{lead_id}@example.kz")
    crm.put(lead_id, at=at - 60, status=OPEN, **facts, **utm)
    # AmoCRM's own date is not the hook's.
    crm.put(lead_id, at=at, status=WON, closed_at=at - 3, contact=5000 + lead_id, **facts, **utm)
    if is_sparse:
        made = bodies.hook(lead_id, action="add", at=None, status=OPEN)
        won = bodies.hook(lead_id, at=None)
    else:
        made = bodies.hook(lead_id, action="add", at=at - 60, status=OPEN, **facts, **utm)
        won = bodies.hook(lead_id, at=at, **facts, **utm)
    return [made, won] if in_order else [won, made]


def here(lead_id: int) -> dict[str, Any]:
    """Return what this system has of a deal."""
    deal = Deal.objects.get(pk=lead_id)
    sale = Sale.objects.get(lead_id=lead_id)
    person = Contact.objects.get(pk=deal.contact_id or 0)
    return {
        "stage": (deal.pipeline_id, deal.status_id),
        "name": sale.lead_name,
        "amount": sale.sale_amount,
        "date": int(sale.sale_date.timestamp()),
        "state": sale.state,
        "whose": sale.targetologist_id,
        "utm": (deal.utm_source, deal.utm_campaign),
        "person": (person.name, person.phone, person.email),
        "doubt": deal.needs_check,
    }


def there(crm: FakeAmoCrm, lead_id: int) -> dict[str, Any]:
    """Return what AmoCRM has of it."""
    lead = crm.leads[lead_id]
    utm = {field["field_name"]: field["values"][0]["value"] for field in lead["custom_fields_values"] or ()}
    person = crm.contacts[lead["_embedded"]["contacts"][0]["id"]]
    values = [field["values"][0]["value"] for field in person["custom_fields_values"]]
    campaign = utm.get("utm_campaign", "")
    return {
        "stage": (lead["pipeline_id"], lead["status_id"]),
        "name": lead["name"],
        "amount": lead["price"],
        "date": lead["closed_at"],
        "state": "won",
        "whose": dict(CAMPAIGNS).get(campaign),
        "utm": (utm.get("utm_source", ""), campaign),
        "person": (person["name"], *values),
        "doubt": False,
    }


def is_settled() -> bool:
    """Return whether nothing waits: no delivery, no question to AmoCRM, no message."""
    return not (
        WebhookDelivery.objects.exclude(status="processed").exists()
        or ApiQuestion.objects.exclude(due_at=None).exists()
        or SalesNotification.objects.filter(notification_status__in=["pending", "sending"]).exists()
    )


def post(url: str, body: bytes) -> int:
    answer = httpx.post(f"{url}/webhook/amocrm?key=s", content=body, headers={"Content-Type": bodies.FORM}, timeout=30)
    return answer.status_code


def wait_for(condition: Callable[[], bool], *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it does not settle"
        time.sleep(0.2)
