from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from werkzeug import Request

from tests import bodies
from tests.amocrm_server import Bad, FakeAmoCrm
from tests.bodies import OPEN, PIPELINE, WON
from traffic.models import Sale
from webhooks import enrichment, inbox, questions, tasks
from webhooks.amocrm import api
from webhooks.amocrm.api import Api
from webhooks.models import ApiQuestion, ApiState, Contact, Deal, WebhookDelivery, WebhookLog

pytestmark = pytest.mark.django_db
T = 1766217600
CLOSED = datetime.fromtimestamp(T - 5, UTC)


@pytest.fixture
def amo(crm: FakeAmoCrm) -> Iterator[Api]:
    with Api() as client:
        yield client


def arrive(body: bytes, **fields: Any) -> None:
    """Let a hook arrive and be processed."""
    fields = {"source": "amocrm", "content_type": bodies.FORM, **fields}
    WebhookDelivery.objects.create(body=body, **fields)
    drain()


def drain() -> None:
    while inbox.process_due():
        pass


def ask(amo: Api) -> None:
    """Ask about what is due and process the answers, until nothing is due."""
    while enrichment.ask_due(amo):
        drain()


def due(kind: str = "deal") -> list[int]:
    rows = ApiQuestion.objects.filter(kind=kind, due_at__isnull=False).order_by("object_id")
    return list(rows.values_list("object_id", flat=True))


def let_the_time_come() -> None:
    ApiQuestion.objects.exclude(due_at=None).update(due_at=Now())
    ApiState.objects.update(paused_until=Now())


def test_a_sparse_win_is_completed(crm: FakeAmoCrm, amo: Api):
    crm.put(1, at=T, status=WON, price=50_000, name="Курс", contact=7, closed_at=T - 5, utm_campaign="tripwire_17.12")
    crm.person(7, "Айгерим Тестова", "+7 700 000 00 01", "aigerim@example.kz")
    arrive(bodies.hook(1, at=T))
    assert Sale.objects.get().sale_amount is None
    ask(amo)
    deal = Deal.objects.get()
    assert (deal.price, deal.utm_campaign, deal.closed_at, deal.contact_id) == (50_000, "tripwire_17.12", CLOSED, 7)
    sale = Sale.objects.get()
    assert (sale.sale_amount, sale.sale_date, str(sale.targetologist_id)) == (50_000, CLOSED, "kenesary")
    contact = Contact.objects.get()
    assert (contact.name, contact.phone, contact.email) == ("Айгерим Тестова", "+7 700 000 00 01", "aigerim@example.kz")
    assert due() == due("contact") == []
    answer = WebhookDelivery.objects.get(source="amocrm_api")
    assert answer.status == "processed"
    assert json.loads(bytes(answer.body or b""))["_embedded"]["leads"][0]["id"] == 1
    assert WebhookLog.objects.get(delivery=answer).action == "leads.api"


def test_an_empty_field_of_the_answer_is_empty(crm: FakeAmoCrm, amo: Api):
    arrive(bodies.hook(1, at=T, price=5, name="n", utm_source="old", utm_campaign="tripwire"))
    crm.put(1, at=T + 1, status=WON, name="n", price=5)
    ask(amo)
    deal = Deal.objects.get()
    assert (deal.utm_source, deal.utm_campaign, deal.price) == ("", "", 5)
    assert Sale.objects.get().targetologist is None


def test_what_lacks_nothing_is_not_asked_about(crm: FakeAmoCrm, amo: Api):
    arrive(bodies.hook(1, at=T, status=OPEN, price=5, utm_source="s"))
    assert due() == []
    arrive(bodies.hook(2, at=T, status=OPEN, price=5))
    arrive(bodies.hook(3, at=T, status=OPEN, utm_source="s"))
    arrive(bodies.hook(4, at=T, price=5, utm_source="s"))
    arrive(bodies.hook(5, at=None, status=OPEN, price=5, utm_source="s"))
    assert due() == [2, 3, 4, 5]


def test_an_answer_is_final_until_the_next_event(crm: FakeAmoCrm, amo: Api):
    crm.put(1, at=T, status=WON)
    arrive(bodies.hook(1, at=T))
    ask(amo)
    asked = len(crm.asked)
    ask(amo)
    tasks.ask_for_what_is_lacking(timestamp=0)
    ask(amo)
    assert len(crm.asked) == asked
    arrive(bodies.hook(1, at=T + 60, action="update"))
    assert due() == [1]


def test_a_win_that_the_answer_told_before_its_hook_came_keeps_its_date(crm: FakeAmoCrm, amo: Api):
    crm.put(1, at=T - 60, status=OPEN, price=5)
    crm.put(1, at=T, status=WON, price=5, closed_at=T - 5)
    arrive(bodies.hook(1, at=None, action="add", status=OPEN))
    ask(amo)
    arrive(bodies.hook(1, at=None))
    assert due() == [1]
    ask(amo)
    assert due() == []
    assert Deal.objects.get().wins == {str(PIPELINE): [(T - 5) * 1_000_000, 1]}
    assert Sale.objects.get().sale_date == CLOSED


def test_an_answer_older_than_the_hook_is_asked_for_again(crm: FakeAmoCrm, amo: Api):
    crm.put(1, at=T)
    arrive(bodies.hook(1, at=T + 1))
    ask(amo)
    assert due() == [1]
    crm.put(1, at=T + 1, status=WON, price=9)
    let_the_time_come()
    ask(amo)
    assert due() == []
    assert Sale.objects.get().sale_amount == 9


def test_a_doubt_is_settled(crm: FakeAmoCrm, amo: Api):
    crm.put(1, at=T, status=OPEN, price=5)
    arrive(bodies.hook(1, at=None))
    assert Deal.objects.get().needs_check
    assert Sale.objects.get().state == "won"
    ask(amo)
    deal = Deal.objects.get()
    assert (deal.needs_check, deal.status_id) == (False, OPEN)
    assert Sale.objects.get().state == "reversed"


def test_a_retried_delete_is_settled(crm: FakeAmoCrm, amo: Api):
    crm.put(1, at=T, status=WON, price=5, utm_source="s")
    arrive(bodies.hook(1, at=T, price=5, utm_source="s"))
    crm.restore(1, at=T + 9)
    arrive(bodies.hook(1, at=T + 9, action="restore", price=5, utm_source="s"))
    WebhookDelivery.objects.update(received_at=Now() - timedelta(days=1))
    arrive(bodies.hook(1, action="delete"))
    assert Deal.objects.get().is_deleted
    ask(amo)
    assert not Deal.objects.get().is_deleted
    assert due() == []


def test_a_deleted_deal_keeps_what_was_known(crm: FakeAmoCrm, amo: Api):
    crm.put(1, at=T, status=WON, price=5)
    crm.delete(1, at=T + 5)
    arrive(bodies.hook(1, at=T, price=5, name="Курс"))
    ask(amo)
    deal = Deal.objects.get()
    assert (deal.is_deleted, deal.price, deal.name, due()) == (True, 5, "Курс", [])
    assert Sale.objects.get().state == "reversed"


def test_what_amocrm_does_not_have_is_given_up(crm: FakeAmoCrm, amo: Api):
    arrive(bodies.hook(1, at=T))
    for _ in range(enrichment.MISSING_AFTER):
        assert due() == [1]
        let_the_time_come()
        ask(amo)
    assert due() == []
    assert ApiQuestion.objects.get().error == "AmoCRM does not have it"
    assert Sale.objects.get().state == "won"


def test_many_are_asked_about_in_few_requests(crm: FakeAmoCrm, amo: Api):
    for number in range(1, 251):
        crm.put(number, at=T, status=WON, price=1)
        WebhookDelivery.objects.create(source="amocrm", content_type=bodies.FORM, body=bodies.hook(number, at=T))
    drain()
    ask(amo)
    assert len(crm.asked) == 3
    assert Deal.objects.exclude(closed_at=None).count() == 250


@pytest.mark.parametrize("status", [401, 402, 403, 429])
def test_a_pause_is_no_attempt(crm: FakeAmoCrm, amo: Api, status: int):
    crm.put(1, at=T, status=WON)
    arrive(bodies.hook(1, at=T))
    crm.will(Bad(status))
    enrichment.ask_due(amo)
    assert ApiQuestion.objects.get().attempts == 0
    assert due() == [1]
    let_the_time_come()
    ask(amo)
    assert due() == []


def test_one_that_spoils_every_answer_ends_alone(crm: FakeAmoCrm, amo: Api, monkeypatch: pytest.MonkeyPatch):
    for number in range(1, 9):
        crm.put(number, at=T, status=WON)
        WebhookDelivery.objects.create(source="amocrm", content_type=bodies.FORM, body=bodies.hook(number, at=T))
    drain()
    behave = crm._misbehaviour

    def spoilt(request: Request, now: float) -> Bad | None:
        asked = {value for key, value in request.args.items() if key.startswith("filter[id]")}
        return Bad(504) if "5" in asked else behave(request, now)

    monkeypatch.setattr(crm, "_misbehaviour", spoilt)
    monkeypatch.setattr(enrichment, "MOST_IDS", 4)
    for _ in range(questions.MAX_ATTEMPTS * 4):
        let_the_time_come()
        enrichment.ask_due(amo)
        drain()
    assert set(Deal.objects.exclude(closed_at=None).values_list("pk", flat=True)) == {1, 2, 3, 4, 6, 7, 8}
    assert due() == []
    assert "504" in ApiQuestion.objects.get(object_id=5).error


@pytest.mark.parametrize("news", [bodies.hook(1, action="delete"), bodies.hook(1, status=bodies.LOST)])
def test_what_arrives_while_an_answer_is_on_its_way_is_news_to_it(
    news: bytes, crm: FakeAmoCrm, amo: Api, monkeypatch: pytest.MonkeyPatch
):
    crm.put(1, at=T, status=WON, price=5, closed_at=T - 5)
    arrive(bodies.hook(1, at=T))
    fetch = enrichment.fetch

    def fetch_slowly(api: Api, ids: list[int]) -> Any:
        answer = fetch(api, ids)
        arrive(news)
        return answer

    monkeypatch.setattr(enrichment, "fetch", fetch_slowly)
    let_the_time_come()
    enrichment.ask_due(amo)
    drain()
    assert Sale.objects.get().state == "reversed"


def test_what_arrives_while_the_turn_to_ask_is_awaited_is_older_than_the_answer(
    crm: FakeAmoCrm, amo: Api, monkeypatch: pytest.MonkeyPatch
):
    crm.put(1, at=T, status=WON, price=5, closed_at=T)
    arrive(bodies.hook(1, at=None, status=OPEN))
    turn = api._turn
    late = [bodies.hook(1, at=None, status=OPEN)]

    @contextmanager
    def turn_of_others_first() -> Iterator[datetime]:
        if late:
            arrive(late.pop())
        with turn() as began_at:
            yield began_at

    monkeypatch.setattr(api, "_turn", turn_of_others_first)
    ask(amo)
    arrive(bodies.hook(1, at=None, status=WON))
    assert late == []
    assert [(sale.win_number, sale.sale_date.timestamp()) for sale in Sale.objects.all()] == [(1, T)]


def test_wins_from_before_the_token_are_asked_about(settings: Any, crm: FakeAmoCrm, amo: Api):
    token, settings.AMOCRM_ACCESS_TOKEN = settings.AMOCRM_ACCESS_TOKEN, ""
    crm.put(1, at=T, status=WON, price=3)
    arrive(bodies.hook(1, at=T))
    tasks.ask_for_what_is_lacking(timestamp=0)
    assert not ApiQuestion.objects.exists()
    settings.AMOCRM_ACCESS_TOKEN = token
    tasks.ask_for_what_is_lacking(timestamp=0)
    ask(amo)
    assert Sale.objects.get().sale_amount == 3


def test_a_replay_asks_nothing(crm: FakeAmoCrm):
    delivery = WebhookDelivery.objects.create(source="amocrm", content_type=bodies.FORM, body=bodies.hook(1, at=T))
    inbox.process([delivery.pk], live=False)
    assert not ApiQuestion.objects.exists()


def test_only_customers_of_won_deals_are_asked_for_and_once(crm: FakeAmoCrm, amo: Api):
    crm.person(7, "Первая")
    crm.person(8, "Вторая")
    crm.put(1, at=T, status=WON, contact=7)
    crm.put(2, at=T, status=OPEN, contact=8)
    for number in (1, 2):
        arrive(bodies.hook(number, at=T, status=OPEN if number == 2 else WON))
    ask(amo)
    assert list(Contact.objects.values_list("pk", flat=True)) == [7]
    arrive(bodies.hook(1, at=T + 60, action="update"))
    crm.put(1, at=T + 60, status=WON, contact=7)
    ask(amo)
    assert sum("contacts" in asked.path for asked in crm.asked) == 1


def test_a_contact_without_phone_and_mail_is_stored_as_it_is(crm: FakeAmoCrm, amo: Api):
    crm.contacts[7] = {"id": 7, "name": None, "custom_fields_values": None}
    crm.put(1, at=T, status=WON, contact=7)
    arrive(bodies.hook(1, at=T))
    ask(amo)
    contact = Contact.objects.get()
    assert (contact.name, contact.phone, contact.email, due("contact")) == ("", "", "", [])


def test_a_contact_whose_deals_an_app_could_not_take_is_told_of_again(
    crm: FakeAmoCrm, amo: Api, monkeypatch: pytest.MonkeyPatch
):
    crm.contacts[7] = {"id": 7, "name": None, "custom_fields_values": None}
    crm.put(1, at=T, status=WON, price=5, utm_source="ref_dana", contact=7)
    arrive(bodies.hook(1, at=T, utm_source="ref_dana"))
    monkeypatch.setattr("webhooks.contacts.tell", lambda deals, **_: ({1: ["referrals: no"]}, 1))
    enrichment.ask_due(amo)
    drain()
    let_the_time_come()
    enrichment.ask_due(amo)
    question = ApiQuestion.objects.get(kind="contact")
    assert (question.object_id, question.error) == (7, "an app could not take the deal")
    assert due("contact") == [7]
    monkeypatch.undo()
    let_the_time_come()
    ask(amo)
    assert due("contact") == []
