from __future__ import annotations

from decimal import Decimal

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from notifications.models import TelegramChat
from onai_project import roles
from tests.onai_project.rows import make_sale, make_user
from traffic.models import AttributionRule, Sale, SalesNotification, Targetologist

pytestmark = pytest.mark.django_db

SALES = "admin:traffic_sale_changelist"
MESSAGES = "admin:traffic_salesnotification_changelist"


@pytest.fixture
def boss(client: Client) -> Client:
    client.force_login(make_user("boss", superuser=True))
    return client


@pytest.fixture
def muha(client: Client) -> Client:
    user = make_user("muha", role=roles.TARGETOLOGIST)
    Targetologist.objects.filter(slug="muha").update(user=user)
    client.force_login(user)
    return client


@pytest.fixture
def others() -> Sale:
    return make_sale(77, targetologist=Targetologist.objects.get(slug="kenesary"), lead_name="Чужая сделка")


@pytest.fixture
def own() -> Sale:
    return make_sale(78, targetologist=Targetologist.objects.get(slug="muha"), lead_name="Своя сделка")


def message_of(sale: Sale) -> SalesNotification:
    return SalesNotification.objects.create(
        lead_id=sale.lead_id, lead_name=sale.lead_name, targetologist=sale.targetologist, sale_date=timezone.now()
    )


def ids(answer) -> list[int]:
    return [row.pk for row in answer.context["cl"].result_list]


def test_a_sale_has_its_amount_and_its_deal_in_amocrm(boss, settings):
    settings.AMOCRM_BASE_URL = "https://school.amocrm.ru"
    make_sale(30_000_001, sale_amount=Decimal(1_250_000))
    page = boss.get(reverse(SALES)).content.decode()
    assert "1\u2009250\u2009000\u2009₸" in page
    assert 'href="https://school.amocrm.ru/leads/detail/30000001"' in page


@pytest.mark.parametrize("term", ["77", "чужая", "tripwire"])
def test_sales_are_found_by(boss, term):
    wanted = make_sale(77, lead_name="Чужая сделка", utm_campaign="tripwire_17.12")
    make_sale(177, lead_name="Другая")
    assert ids(boss.get(reverse(SALES), {"q": term})) == [wanted.pk]


def test_sales_without_an_amount_can_be_listed(boss):
    make_sale(1)
    wanted = make_sale(2, sale_amount=None)
    assert ids(boss.get(reverse(SALES), {"amount": "unknown"})) == [wanted.pk]


@pytest.mark.parametrize("model", ["sale", "salesnotification"])
def test_history_can_not_be_written_by_anybody(boss, own, model):
    row = own if model == "sale" else message_of(own)
    assert boss.get(reverse(f"admin:traffic_{model}_add")).status_code == 403
    assert boss.post(reverse(f"admin:traffic_{model}_change", args=[row.pk]), {"lead_name": "x"}).status_code == 403
    assert boss.post(reverse(f"admin:traffic_{model}_delete", args=[row.pk]), {"post": "yes"}).status_code == 403


def test_the_lists_ask_no_more_for_more_rows(boss, others, django_assert_max_num_queries):
    for lead_id in range(20):
        message_of(make_sale(lead_id, targetologist=others.targetologist))
    for view in (SALES, MESSAGES):
        with django_assert_max_num_queries(8):
            boss.get(reverse(view))


def test_a_targetologist_lists_only_their_own(muha, own, others):
    assert ids(muha.get(reverse(SALES))) == [own.pk]
    message_of(others)
    mine = message_of(own)
    assert ids(muha.get(reverse(MESSAGES))) == [mine.pk]


def test_a_message_is_seen_by_whose_the_sale_is_now_and_in_their_own_chat(muha, own, others):
    chat = TelegramChat.objects.create(chat_id=-20, kind="targetologist")
    common = TelegramChat.objects.create(chat_id=-1)
    Targetologist.objects.filter(slug="muha").update(chat=chat)
    became_mine, became_anothers = message_of(others), message_of(own)
    to_me = SalesNotification.objects.create(lead_id=own.lead_id, chat=chat, sale_date=timezone.now())
    to_all = SalesNotification.objects.create(lead_id=own.lead_id, chat=common, sale_date=timezone.now())
    Sale.objects.filter(pk=others.pk).update(targetologist="muha")
    Sale.objects.filter(pk=own.pk).update(targetologist="kenesary")
    assert set(ids(muha.get(reverse(MESSAGES)))) == {became_mine.pk, to_me.pk}
    Targetologist.objects.filter(slug="muha").update(chat=common)
    assert ids(muha.get(reverse(MESSAGES))) == [became_mine.pk]
    assert {became_anothers.pk, to_all.pk} <= set(SalesNotification.objects.values_list("pk", flat=True))


def test_a_targetologist_does_not_find_anothers_sale(muha, own, others):
    assert ids(muha.get(reverse(SALES), {"q": "77"})) == []
    assert ids(muha.get(reverse(SALES), {"q": "сделка"})) == [own.pk]


def test_a_targetologist_does_not_open_anothers_sale_by_its_address(muha, own, others):
    assert muha.get(reverse("admin:traffic_sale_change", args=[own.pk])).status_code == 200
    for model, row in (("sale", others), ("salesnotification", message_of(others))):
        for page in ("change", "history"):
            answer = muha.get(reverse(f"admin:traffic_{model}_{page}", args=[row.pk]), follow=True)
            assert "Чужая сделка" not in answer.content.decode()


def test_a_targetologist_is_not_told_who_else_there_is(muha, own):
    assert "Kenesary" not in muha.get(reverse(SALES)).content.decode()


@pytest.mark.parametrize("view", ["targetologist", "attributionrule"])
def test_a_targetologist_does_not_see_rules(muha, view):
    assert muha.get(reverse(f"admin:traffic_{view}_changelist")).status_code == 403


def test_the_head_of_traffic_changes_rules(client):
    client.force_login(make_user("head", role=roles.HEAD_OF_TRAFFIC))
    data = {
        "targetologist": "muha",
        "field": "utm_source",
        "match": "equals",
        "pattern": "vk",
        "order": 5,
        "active": "on",
    }
    answer = client.post(reverse("admin:traffic_attributionrule_add"), data)
    assert answer.status_code == 302
    assert AttributionRule.objects.get(pattern="vk").targetologist_id == "muha"


def test_a_targetologist_with_sales_can_not_be_deleted(boss, own):
    boss.post(reverse("admin:traffic_targetologist_delete", args=["muha"]), {"post": "yes"})
    assert Targetologist.objects.filter(slug="muha").exists()


def test_the_slug_of_a_targetologist_stays(boss):
    data = {"name": "Муха", "emoji": "", "slug": "other", "order": 3, "active": "on"}
    assert boss.post(reverse("admin:traffic_targetologist_change", args=["muha"]), data).status_code == 302
    assert Targetologist.objects.get(slug="muha").name == "Муха"
