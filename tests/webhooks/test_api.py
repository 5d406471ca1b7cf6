from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from django.db import connection
from django.db.models.functions import Now

from tests.amocrm_server import BROKEN, HANG, NOT_AN_OBJECT, Bad, FakeAmoCrm
from tests.bodies import PIPELINE, WON
from webhooks.amocrm import api
from webhooks.amocrm.api import Api, Refused, Unavailable
from webhooks.models import ApiState

pytestmark = pytest.mark.django_db
T = 1766217600
START, END = datetime.fromtimestamp(T, UTC), datetime.fromtimestamp(T + 86400, UTC)


@pytest.fixture
def amo(crm: FakeAmoCrm) -> Iterator[Api]:
    with Api() as client:
        yield client


@pytest.fixture
def no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "DELAYS", dict.fromkeys(api.DELAYS, (0,)))


def state() -> Any:
    return ApiState.objects.values_list("trouble", "failures").first()


def let_the_pause_end() -> None:
    ApiState.objects.update(paused_until=Now())


def test_it_asks_only_when_it_is_configured(settings, crm: FakeAmoCrm):
    assert api.configured()
    settings.AMOCRM_ACCESS_TOKEN = ""
    assert not api.configured()


def test_deals_come_with_their_contacts_and_without_those_that_are_not_there(crm: FakeAmoCrm, amo: Api):
    crm.put(1, at=T, status=WON, price=5, contact=77, utm_source="s")
    crm.put(2, at=T)
    crm.delete(2, at=T + 1)
    (lead,) = amo.leads([1, 2, 3])
    assert (lead["id"], lead["price"], lead["_embedded"]["contacts"][0]["id"]) == (1, 5, 77)
    assert amo.leads([2, 3], deleted=True) == [{"id": 2, "updated_at": T + 1, "is_deleted": True}]


def test_nothing_found_is_an_empty_list(amo: Api):
    assert amo.leads([1]) == []
    assert list(amo.won_leads(PIPELINE, START, END)) == []
    assert amo.webhooks() == []


def test_a_listing_goes_on_to_its_last_page(crm: FakeAmoCrm, amo: Api):
    for number in range(1, 601):
        crm.put(number, at=T, status=WON)
    crm.put(601, at=T, status=WON, pipeline=1)
    crm.put(602, at=T, status=WON, closed_at=T + 90_000)
    pages = list(amo.won_leads(PIPELINE, START, END))
    assert [len(page) for page in pages] == [250, 250, 100]
    assert {lead["id"] for page in pages for lead in page} == set(range(1, 601))


def test_an_interrupted_listing_is_an_error_and_no_shorter_list(crm: FakeAmoCrm, amo: Api):
    for number in range(1, 601):
        crm.put(number, at=T, status=WON)
    pages = amo.won_leads(PIPELINE, START, END)
    assert len(next(pages)) == 250
    crm.will(Bad(502))
    with pytest.raises(Unavailable):
        list(pages)


def test_events_are_found_by_the_stage_before_and_after(crm: FakeAmoCrm, amo: Api):
    crm.put(1, at=T)
    crm.put(1, at=T + 1, status=WON)
    crm.put(1, at=T + 2, status=143)
    crm.delete(1, at=T + 3)

    def found(kind: str, stage: tuple[str, int, int] | None = None) -> list[int]:
        return [event["created_at"] - T for page in amo.events(kind, START, END, stage=stage) for event in page]

    assert found("lead_status_changed", ("value_after", PIPELINE, WON)) == [1]
    assert found("lead_status_changed", ("value_before", PIPELINE, WON)) == [2]
    assert found("lead_deleted") == [3]


def test_hooks_are_made_changed_and_removed(amo: Api):
    amo.add_webhook("https://hooks.example.kz/a", ["add_lead"])
    amo.add_webhook("https://hooks.example.kz/a", ["add_lead", "status_lead"])
    assert [hook["settings"] for hook in amo.webhooks()] == [["add_lead", "status_lead"]]
    amo.remove_webhook("https://hooks.example.kz/a")
    assert amo.webhooks() == []


@pytest.mark.parametrize(
    ("bad", "trouble"),
    [
        (Bad(401), "token"),
        (Bad(402), "unpaid"),
        (Bad(403), "blocked"),
        (Bad(429), "too_many"),
        (Bad(500), "away"),
        (Bad(504), "away"),
        (BROKEN, "away"),
        (NOT_AN_OBJECT, "away"),
        (Bad(200, b'{"_embedded": 5}'), "away"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.status} {value.body[:12]!r}",
)
def test_it_handles(crm: FakeAmoCrm, amo: Api, bad: Bad, trouble: str):
    crm.put(1, at=T)
    crm.will(bad)
    with pytest.raises(Unavailable) as raised:
        amo.leads([1])
    assert raised.value.trouble == trouble
    asked = len(crm.asked)
    with pytest.raises(Unavailable):
        amo.leads([1])
    assert state() == (trouble, 1)
    assert len(crm.asked) == asked  # nobody asks during the pause
    let_the_pause_end()
    assert [lead["id"] for lead in amo.leads([1])] == [1]


def test_it_handles_a_timeout(crm: FakeAmoCrm, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(api, "TIMEOUT", httpx.Timeout(0.2))
    crm.will(HANG)
    with Api() as amo, pytest.raises(Unavailable):
        amo.leads([1])
    assert state() == ("away", 1)


def test_it_handles_a_server_that_is_not_there(settings, crm: FakeAmoCrm):
    settings.AMOCRM_BASE_URL = "http://127.0.0.1:1"
    with Api() as amo, pytest.raises(Unavailable):
        amo.leads([1])


def test_it_follows_no_redirect_with_its_token(crm: FakeAmoCrm, amo: Api):
    crm.will(Bad(302, headers={"Location": f"{crm.url}/api/v4/webhooks"}))
    with pytest.raises(Refused):
        amo.leads([1])
    assert len(crm.asked) == 1


def test_a_refused_request_stops_no_other(crm: FakeAmoCrm, amo: Api):
    crm.will(Bad(400))
    with pytest.raises(Refused):
        amo.leads([1])
    assert amo.leads([1]) == []


def test_the_delay_grows_and_ends_with_the_first_success(crm: FakeAmoCrm, amo: Api):
    delays = []
    for _ in range(4):
        crm.will(Bad(502))
        with pytest.raises(Unavailable):
            amo.leads([1])
        row = ApiState.objects.get()
        assert row.failed_since is not None
        assert row.paused_until is not None
        delays.append(round((row.paused_until - datetime.now(UTC)).total_seconds()))
        let_the_pause_end()
    assert delays == [1, 5, 15, 60]
    amo.leads([1])
    assert state() == ("", 0)
    assert ApiState.objects.get().failed_since is None


def test_with_patience_it_waits_until_the_trouble_is_over(crm: FakeAmoCrm, no_delay: None):
    crm.put(1, at=T)
    crm.will(Bad(403), Bad(429), BROKEN, Bad(500))
    with Api(patience=10) as amo:
        assert [lead["id"] for lead in amo.leads([1])] == [1]
    assert [asked.status for asked in crm.asked] == [403, 429, 200, 500, 200]


def test_it_stops_waiting_when_told_to(crm: FakeAmoCrm):
    crm.will(Bad(403))
    stop = threading.Event()
    stop.set()
    started = time.monotonic()
    with Api(patience=1000, stop=stop) as amo, pytest.raises(Unavailable):
        amo.leads([1])
    assert time.monotonic() - started < 5


@pytest.mark.django_db(transaction=True)
def test_however_many_ask_it_is_never_more_than_seven_a_second(crm: FakeAmoCrm):
    def ask(number: int) -> None:
        try:
            with Api() as amo:
                for _ in range(7):
                    amo.leads([number])
        finally:
            connection.close()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(ask, range(3)))
    assert len(crm.asked) == 21
    assert {asked.status for asked in crm.asked} == {204}
    assert crm.busiest_second() <= 7
