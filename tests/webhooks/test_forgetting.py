from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from typing import Any
from urllib.parse import quote_plus

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob

from onai_project import roles
from referrals.decisions import conversion_reject
from referrals.ledger import reconsider_referrer
from referrals.models import Conversion, Decision, Earning, Referrer
from tests import bodies
from tests.amocrm_server import FakeAmoCrm
from tests.bodies import OPEN, WON
from tests.onai_project.rows import make_user
from tests.webhooks.helpers import until_another_waits_for
from traffic.models import Sale, SalesNotification
from webhooks import enrichment, forgetting, inbox, tasks
from webhooks.amocrm import events, form
from webhooks.amocrm.api import Api
from webhooks.amocrm.redaction import person_pattern, redact_body
from webhooks.forgetting import forget_contact
from webhooks.models import ApiQuestion, Contact, Deal, DealTransition, WebhookDelivery, WebhookLog

pytestmark = pytest.mark.django_db
T = 1766217600
NAME, PHONE, EMAIL = "Айгерим Тестова", "+7 (700) 123-45-67", "aigerim@example.kz"
UTM: dict[str, Any] = {"utm_source": "ref_dana", "utm_campaign": "tripwire_17.12"}
# None of these may be left anywhere.
TRACES = re.compile("айгерим|тестова|7001234567|123-45-67|aigerim", re.IGNORECASE)


def arrive(body: bytes, **fields: Any) -> WebhookDelivery:
    fields = {"source": "amocrm", "content_type": bodies.FORM, **fields}
    delivery = WebhookDelivery.objects.create(body=body, **fields)
    while inbox.process_due():
        pass
    return delivery


@pytest.fixture
def told() -> None:
    """A customer, with two deals, in every place that there is; and somebody else beside them in one body."""
    Contact.objects.create(contact_id=7, name=NAME, phone=PHONE, email=EMAIL)
    ApiQuestion.objects.create(kind="contact", object_id=7)
    pairs = bodies.lead_pairs(1, at=T, price=50_000, name=f"Курс, {NAME}", **UTM)
    pairs |= {"leads[status][0][custom_fields][9][id]": 5, "leads[status][0][custom_fields][9][name]": "Телефон"}
    pairs |= {"leads[status][0][custom_fields][9][values][0][value]": "8 700 123 45 67"}
    pairs |= {"leads[status][0][tags][0][id]": 1, "leads[status][0][tags][0][name]": "Айгерим"}
    pairs |= bodies.lead_pairs(2, index=1, at=T, price=7, name="Сделка Анны", utm_campaign="arystan")
    arrive(bodies.form(pairs))
    lead = bodies.api_lead(1, at=T + 5, price=50_000, name="Айгерим", closed_at=T, **UTM)
    arrive(bodies.answer(lead | {"_embedded": {"contacts": [{"id": 7, "is_main": True}]}}), source="amocrm_api")
    lead = bodies.api_lead(3, at=T + 5, name="Без имени", closed_at=T, status=OPEN)
    arrive(bodies.answer(lead | {"_embedded": {"contacts": [{"id": 7}]}}), source="amocrm_api")
    arrive(f"contacts[update][0][id]=7&contacts[update][0][name]={quote_plus(NAME)}&contacts[update][0][x]=y".encode())
    arrive(f"task[add][0][id]=9&task[add][0][text]={quote_plus('Звонить: ' + PHONE)}".encode())
    arrive(b"leads[note][0][note][element_id]=1&leads[note][0][note][text]=%D0%90%D0%B9%D0%B3%D0%B5%D1%80%D0%B8%D0%BC")
    arrive(f'{{"broken": "{EMAIL}"'.encode(), content_type="application/json")
    arrive(json.dumps({"leads": [{"id": 50, "name": "тестова айгерим"}]}).encode(), content_type="application/json")
    SalesNotification.objects.create(lead_id=1, win_number=9, lead_name=NAME, sale_date=timezone.now())
    Referrer.objects.create(code="ref_other", name="Кто-то", phone="87001234567")


def everything() -> str:
    """Return every row of every table as text, bodies decoded."""
    found = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT t::text FROM "{table}" AS t')
            found += [f"{table}: {row}" for (row,) in cursor.fetchall()]
    return "\n".join([*found, *(text for _, text in forgetting._bodies())])


def state() -> list[Any]:
    return [
        list(model._default_manager.order_by(*fields[:2]).values(*fields))
        for model, fields in (
            (Deal, ["pk", "name", "price", "status_id", "utm_source", "won_at", "wins", "merge", "needs_check"]),
            (DealTransition, ["lead_id", "at", "status_id"]),
            (Sale, ["lead_id", "lead_name", "sale_amount", "state", "sale_date", "targetologist_id"]),
            (Conversion, ["lead_id", "lead_name", "sale_amount", "state"]),
            (WebhookLog, ["delivery_id", "index", "action", "lead_id", "deal_data", "routing_decision"]),
        )
    ]


def test_a_person_is_nowhere_afterwards(told: None):
    assert TRACES.search(everything())
    done = forget_contact(contact_id=7)
    assert done.lead_ids == (1, 3)
    left = everything()
    assert [line for line in left.splitlines() if TRACES.search(line)] == []
    contact = Contact.objects.get()
    assert (contact.name, contact.phone, contact.email, contact.forgotten_at is not None) == ("", "", "", True)
    assert not ApiQuestion.objects.filter(kind="contact").exclude(due_at=None).exists()
    assert done.searched_bodies == WebhookDelivery.objects.count()
    assert done.searched_columns > 50


def test_money_dates_and_others_stay(told: None):
    facts = ("lead_id", "sale_amount", "state", "sale_date", "utm_campaign")
    before = list(Sale.objects.order_by("lead_id").values(*facts))
    assert len(before) == 2
    forget_contact(contact_id=7)
    assert list(Sale.objects.order_by("lead_id").values(*facts)) == before
    assert list(Sale.objects.order_by("lead_id").values_list("lead_name", flat=True)) == ["—", "Сделка Анны"]
    assert Conversion.objects.get().lead_name == "—"
    assert Deal.objects.get(pk=50).name == "—"


def test_a_replay_of_the_rewritten_bodies_changes_nothing(told: None):
    forget_contact(contact_id=7)
    before = state()
    inbox.process(list(WebhookDelivery.objects.exclude(status="invalid").values_list("pk", flat=True)), live=False)
    assert state() == before
    Deal.objects.update(merge={}, name="")
    DealTransition.objects.all().delete()
    inbox.process(list(WebhookDelivery.objects.exclude(status="invalid").values_list("pk", flat=True)), live=False)
    assert state() == before


def test_the_hold_of_a_referrers_own_purchase_stays(told: None):
    dana = Referrer.objects.get(code="ref_dana")
    dana.phone, dana.claimed = PHONE, True
    dana.save()
    reconsider_referrer(dana)
    assert Conversion.objects.get().hold_reason == "self_referral"
    forget_contact(contact_id=7)
    assert Conversion.objects.get().hold_reason == "self_referral"
    inbox.process(list(WebhookDelivery.objects.exclude(status="invalid").values_list("pk", flat=True)), live=False)
    assert Conversion.objects.get().hold_reason == "self_referral"


def test_a_hold_that_an_unclaimed_code_hides_stays_as_well(told: None):
    dana = Referrer.objects.get(code="ref_dana")
    dana.phone = PHONE
    dana.save()
    reconsider_referrer(dana)
    forget_contact(contact_id=7)
    dana.refresh_from_db()
    dana.claimed = True
    dana.save()
    reconsider_referrer(dana)
    assert Conversion.objects.get().hold_reason == "self_referral"


def test_a_reason_in_the_ledger_that_names_the_person_is_rewritten_and_the_sums_stay(told: None):
    manager = make_user("refs")
    sums = ("seq", "kind", "amount", "available_at", "by", "delivery")
    conversion_reject(lead_id=1, by=manager, reason=f"Это {NAME}, {PHONE}")
    before = list(Earning.objects.order_by("pk").values(*sums))
    forget_contact(contact_id=7)
    assert TRACES.findall(everything()) == []
    assert list(Earning.objects.order_by("pk").values(*sums)) == before
    assert Decision.objects.get().reason == "Это —, —"
    assert Conversion.objects.get().rejected == "Это —, —"
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        Decision.objects.update(reason="x")


@pytest.mark.parametrize("table", ["referral_earnings", "referral_decisions"])
def test_while_a_person_is_forgotten_the_ledger_lets_go_of_nothing_but_texts(told: None, table: str):
    conversion_reject(lead_id=1, by=make_user("refs"), reason="x")
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('onai.forgetting', 'on', true)")
    for statement in (f"UPDATE {table} SET created_at = now() - interval '1 day'", f"DELETE FROM {table}"):
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)


def test_it_can_be_repeated_and_works_after_bodies_were_dropped(told: None):
    WebhookDelivery.objects.update(body=None)
    forget_contact(contact_id=7)
    assert TRACES.findall(everything()) == []
    assert forget_contact(contact_id=7).deliveries == 0


def test_a_person_unknown_here_takes_deals_by_number(told: None):
    Deal.objects.update(contact_id=None)
    Contact.objects.all().delete()
    assert forget_contact(contact_id=7, lead_ids=[1]).lead_ids == (1,)
    assert Deal.objects.get(pk=1).name == "—"
    assert Contact.objects.get().forgotten_at


def test_where_a_trace_stays_nothing_has_happened(told: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(forgetting, "_redact_table", lambda *args: 0)
    with pytest.raises(forgetting.StillThere, match="referrers: 1 rows"):
        forget_contact(contact_id=7)
    assert Contact.objects.get().name == NAME


def test_amocrm_does_not_bring_them_back(told: None, crm: FakeAmoCrm):
    forget_contact(contact_id=7)
    crm.person(7, NAME, PHONE, EMAIL)
    crm.put(1, at=T + 60, status=WON, contact=7, name=NAME, price=50_000, **UTM)
    with Api() as amo:
        enrichment.store_answer(enrichment.fetch(amo, [1])[0])
        while inbox.process_due() or enrichment.ask_due(amo):
            pass
    assert TRACES.findall(everything()) == []
    assert Deal.objects.get(pk=1).closed_at is not None


def test_the_command_says_what_it_did_and_no_name(told: None):
    out = StringIO()
    call_command("forget_contact", "7", stdout=out)
    assert re.search(r"contact 7: 2 deals, \d+ deliveries", out.getvalue())
    assert "nothing of this person was found" in out.getvalue()
    assert TRACES.findall(out.getvalue()) == []


def test_the_command_refuses_a_contact_that_nobody_knows():
    with pytest.raises(CommandError, match="no contact 8"):
        call_command("forget_contact", "8")


def test_the_administrator_forgets_from_the_contacts_page(told: None, client: Client):
    client.force_login(make_user("admin", role=roles.ADMINISTRATOR))
    page = client.get(reverse("admin:webhooks_contact_change", args=[7])).content.decode()
    assert "Удалить данные человека" in page
    client.post(reverse("admin:webhooks_contact_forget", args=[7]), {"_form_submitted": "on"})
    job = ProcrastinateJob.objects.get(task_name="webhooks.tasks.forget")
    assert job.args == {"contact_id": 7}
    tasks.forget(**job.args)
    assert Contact.objects.get().forgotten_at
    assert (
        "Удалить данные человека" not in client.get(reverse("admin:webhooks_contact_change", args=[7])).content.decode()
    )


def test_who_may_only_look_at_contacts_forgets_nobody(told: None, client: Client):
    client.force_login(make_user("manager", role=roles.REFERRAL_MANAGER))
    assert (
        "Удалить данные человека" not in client.get(reverse("admin:webhooks_contact_change", args=[7])).content.decode()
    )
    url = reverse("admin:webhooks_contact_forget", args=[7])
    assert client.post(url, {"_form_submitted": "on"}).status_code == 403
    assert not ProcrastinateJob.objects.exists()


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("айгерим  ТЕСТОВА", True),
        ("Тестова Айгерим", True),
        ("Айгерим Иванова", False),
        ("Айгерим Тестовая", False),
        ("Курс: Айгерим Тестова, 2 поток", True),
        ("77001234567", True),
        ("8-700-123-45-67", True),
        ("7001234567", True),
        ("17001234567890", False),
        ("Aigerim@Example.KZ", True),
        ("(aigerim@example.kz)", True),
        ("xaigerim@example.kz", False),
        ("aigerim@example.kzz", False),
    ],
)
def test_how_a_person_is_found(text: str, is_found: bool):
    pattern = person_pattern(NAME, PHONE, EMAIL)
    assert pattern is not None
    assert bool(pattern.search(text)) is is_found
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s ~* %s", [text, pattern.pattern])
        assert cursor.fetchone() == (is_found,)


def test_a_first_name_alone_is_not_looked_for():
    assert person_pattern("Анна", "", "") is None


@pytest.mark.parametrize("name", sorted(path.name for path in bodies.PAYLOADS.iterdir() if path.name != "empty.txt"))
def test_a_rewritten_body_says_the_same_of_the_deals(name: str):
    def said(body: bytes, content_type: str) -> list[Any]:
        parsed = events.parse(form.decode(body, content_type), utm_field_ids={}, snapshot=name == "api-answer.json")
        return [
            (e.action, e.lead_id, e.status_id, e.pipeline_id, e.price, e.updated_at, e.closed_at, dict(e.utm))
            if isinstance(e, events.DealEvent)
            else (e.entity, e.action, e.id)
            for e in parsed.events
        ]

    body, kind = bodies.payload(name), bodies.content_type(name)
    tree = form.decode(body, kind)
    leads = {row[1] for row in said(body, kind) if len(row) > 3}
    redacted = redact_body(
        tree, contact_id=1, lead_ids=leads, pattern=None, utm_field_ids={}, snapshot=name == "api-answer.json"
    )
    assert said(json.dumps(redacted).encode(), "application/json") == said(body, kind)


@pytest.mark.django_db(transaction=True)
def test_deals_are_taken_in_the_order_in_which_a_worker_takes_them():
    arrive(bodies.form(bodies.lead_pairs(30, at=T, name=NAME) | bodies.lead_pairs(2, index=1, at=T)))
    Contact.objects.create(contact_id=7, name=NAME, phone=PHONE, email=EMAIL)

    def forget() -> tuple[int, ...]:
        try:
            return forget_contact(contact_id=7, lead_ids=[30]).lead_ids
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool, connection.cursor() as cursor:
        with transaction.atomic():
            cursor.execute("SELECT FROM deals WHERE lead_id = 2 FOR UPDATE")
            forgetting_it = pool.submit(forget)
            until_another_waits_for(cursor, "the first deal")
            # Held already, this one would be waited for by the worker that has the other: a deadlock.
            cursor.execute("SELECT FROM deals WHERE lead_id = 30 FOR UPDATE NOWAIT")
        assert forgetting_it.result(10) == (30,)
    assert not TRACES.search("\n".join(everything()))
