"""The admin's pages of attribution: why, decided by hand, the tester, the queue, re-attribution."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from onai_project import roles
from tests import bodies
from tests.onai_project.rows import make_sale, make_user
from traffic.models import AttributionRule, ReattributionRun, RuleVersion, Sale, SaleOverride, Targetologist
from traffic.reattribution import tasks
from traffic.rules.book import current_rulebook
from webhooks import inbox
from webhooks.models import WebhookDelivery

pytestmark = pytest.mark.django_db

QUEUE, GROUP, TESTER = "traffic-unattributed", "traffic-unattributed-group", "traffic-tester"
RULES = "admin:traffic_attributionrule_changelist"
NEW_RUN = "admin:traffic_reattributionrun_add"


@pytest.fixture
def head(client: Client) -> Client:
    client.force_login(make_user("head", role=roles.HEAD_OF_TRAFFIC))
    return client


@pytest.fixture
def muha(client: Client) -> Client:
    user = make_user("muha", role=roles.TARGETOLOGIST)
    Targetologist.objects.filter(slug="muha").update(user=user)
    client.force_login(user)
    return client


def arrives(lead_id: int, **utm: str) -> Sale:
    body = bodies.hook(lead_id, at=int(timezone.now().timestamp()), price=100_000, name=f"Сделка {lead_id}", **utm)
    WebhookDelivery.objects.create(source="amocrm_traffic", body=body, content_type=bodies.FORM)
    while inbox.process_due():
        pass
    return Sale.objects.get(lead_id=lead_id)


def shown(client: Client, sale: Sale) -> str:
    return client.get(reverse("admin:traffic_sale_change", args=[sale.pk])).content.decode()


def test_a_sale_says_why_rule_by_rule(head):
    page = shown(head, arrives(1, utm_campaign="Kenji  7", utm_source="{{site}}"))
    assert "правило 4 нашло «kenji» в utm_campaign" in page
    assert page.count('<tr class="panel-hit">') == 1
    assert page.count("содержит «") == 4
    assert "Ещё 24 правила не проверялись." in page
    assert "рекламная система не подставила {{site}}" in page


def test_why_is_told_by_the_rules_of_then_and_what_todays_would_say(head):
    sale = arrives(1, utm_campaign="kenji")
    AttributionRule.objects.filter(targetologist="kenesary").delete()
    AttributionRule.objects.create(order=0, targetologist_id="muha", pattern="kenji")
    page = shown(head, sale)
    assert "правило 4 нашло «kenji»" in page
    assert "По нынешним правилам было бы: Muha" in page


def test_a_targetologist_is_told_why_without_the_others_rules(muha):
    page = shown(muha, arrives(1, utm_campaign="on ai"))
    assert "«on ai» найдено в utm_campaign" in page
    assert "tripwire" not in page
    assert "Kenesary" not in page
    assert "Решить вручную" not in page


def test_a_person_decides_with_a_reason_and_the_page_tells_it(head):
    sale = arrives(1, utm_campaign="kenji")
    url = reverse("admin:traffic_sale_decide", args=[sale.pk])
    assert "Обязательное поле" in head.post(url, {"owner": "muha", "reason": " "}).content.decode()
    assert not SaleOverride.objects.exists()
    assert head.post(url, {"owner": "muha", "reason": "Клиент сказал"}).status_code == 302
    sale.refresh_from_db()
    assert sale.targetologist_id == "muha"
    page = shown(head, sale)
    assert "Решено вручную: head" in page
    assert "Клиент сказал" in page
    assert "правило 4 нашло «kenji»" in page
    head.post(url, {"owner": "-release", "reason": "Ошибка"})
    sale.refresh_from_db()
    assert sale.targetologist_id == "kenesary"
    assert [word.reason for word in SaleOverride.objects.order_by("pk")] == ["Клиент сказал", "Ошибка"]


def test_a_targetologist_decides_nothing(muha):
    sale = arrives(1, utm_campaign="on ai")
    for method in (muha.get, muha.post):
        answer = method(reverse("admin:traffic_sale_decide", args=[sale.pk]), {"owner": "muha", "reason": "x"})
        assert answer.status_code == 403
    for name in (QUEUE, GROUP, TESTER, NEW_RUN):
        assert muha.get(reverse(name)).status_code == 403


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ({"text": "https://onai.kz/?utm_source=fb&utm_campaign=arystan_16"}, "Arystan"),
        ({"text": "utm_medium: yourmarketolog"}, "Muha"),
        ({"text": "utm_campaign=Random"}, "Ни одно правило не сработало"),
        ({"text": "utm_source=REF_aigerim"}, "ref_aigerim"),
        ({"lead": "7"}, "Kenesary"),
        ({"lead": "8"}, "Сделка с таким номером не приходила"),
        ({"text": "привет"}, "В тексте нет utm_source"),
        ({"text": ""}, "Вставьте UTM"),
    ],
)
def test_the_tester_says_who_would_get_it(head, query: dict[str, str], answer: str):
    arrives(7, utm_campaign="tripwire")
    before = list(Sale.objects.values())
    assert answer in head.get(reverse(TESTER), query).content.decode()
    assert list(Sale.objects.values()) == before


def test_the_list_of_rules_flags_the_odd_ones(head):
    AttributionRule.objects.create(order=500, targetologist_id="muha", pattern="kenji_7")
    AttributionRule.objects.create(order=600, targetologist_id="muha", field="utm_term", pattern=" ALEX ")
    page = head.get(reverse(RULES)).content.decode()
    assert "Не сработает никогда: раньше стоит «kenji»" in page
    assert page.count("Такой же образец") == 3


def test_rules_are_put_in_another_order_in_the_list(head):
    rules = list(AttributionRule.objects.all())
    data = {"form-TOTAL_FORMS": len(rules), "form-INITIAL_FORMS": len(rules), "_save": "1"}
    for number, rule in enumerate(rules):
        data |= {f"form-{number}-id": rule.pk, f"form-{number}-order": len(rules) - number}
    assert head.post(reverse(RULES), data).status_code == 302
    assert list(AttributionRule.objects.values_list("pk", flat=True)) == [rule.pk for rule in reversed(rules)]


def test_the_queue_groups_what_nobody_has_by_utm_with_sums(head):
    for number, amount in enumerate([100, 200, None], start=1):
        make_sale(number, utm_campaign="Random", utm_source="fb", sale_amount=amount and Decimal(amount))
    make_sale(4, utm_campaign="{{campaign.name}}", sale_amount=Decimal(900))
    make_sale(5, utm_campaign="Random", state="reversed")
    make_sale(6, utm_campaign="Random", targetologist=Targetologist.objects.get(slug="muha"))
    make_sale(7, utm_campaign="Random", channel="referral")
    answer = head.get(reverse(QUEUE))
    rows = [(g.utm_campaign, g.totals.sales, g.totals.known, g.totals.without_amount) for g in answer.context["groups"]]
    assert rows == [("{{campaign.name}}", 1, 900, 0), ("Random", 3, 300, 1)]
    assert (answer.context["totals"].sales, answer.context["totals"].known) == (4, 1200)
    assert answer.content.decode().count("макрос не подставлен") == 1
    found = head.get(reverse(QUEUE), {"q": "rand"}).context["groups"]
    assert [group.utm_campaign for group in found] == ["Random"]


def group_url(**values: str) -> str:
    from urllib.parse import urlencode

    return f"{reverse(GROUP)}?{urlencode(values)}"


def test_a_group_is_given_to_somebody(head, settings):
    settings.TRAFFIC_CLOSED_UNTIL = (timezone.localdate() - timedelta(days=62)).strftime("%Y-%m")
    make_sale(1, utm_campaign="Random")
    make_sale(2, utm_campaign="Random", when=timezone.now() - timedelta(days=100))
    make_sale(3, utm_campaign="Other")
    data = {"assign": "1", "owner": "traf4", "reason": "Его кабинет"}
    assert head.post(group_url(utm_campaign="Random"), data).status_code == 302
    assert dict(Sale.objects.values_list("lead_id", "targetologist_id")) == {1: "traf4", 2: None, 3: None}
    assert SaleOverride.objects.get().reason == "Его кабинет"


def test_what_is_nobodys_by_a_persons_word_leaves_the_queue(head):
    make_sale(1, utm_campaign="Random")
    head.post(group_url(utm_campaign="Random"), {"assign": "1", "owner": "-nobody", "reason": "Сам пришёл"})
    assert head.get(reverse(QUEUE)).context["groups"] == []


def test_a_rule_made_from_a_group_is_previewed_then_saved_and_moves_nothing_by_itself(head):
    make_sale(1, utm_campaign="Random Campaign")
    make_sale(2, utm_campaign="random  campaign 2", targetologist=Targetologist.objects.get(slug="muha"))
    rule = {
        "targetologist": "traf4", "field": "campaign_or_source", "match": "contains",
        "pattern": "Random Campaign", "place": "end",
    }  # fmt: skip
    url = group_url(utm_campaign="Random Campaign")
    assert 'value="Random Campaign"' in head.get(url).content.decode()
    preview = head.post(url, {**rule, "try": "1"}).context["preview"]
    assert [(before, after, move.totals.sales) for before, after, move in preview["moves"]] == [
        ("Неизвестно ❓", "Traf4 ⚡", 1), ("Muha 🚀", "Traf4 ⚡", 1),
    ]  # fmt: skip
    assert not AttributionRule.objects.filter(pattern="Random Campaign").exists()
    answer = head.post(url, {**rule, "save": "1"})
    assert answer.status_code == 302
    assert AttributionRule.objects.order_by("-order").values_list("pattern", flat=True).first() == "Random Campaign"
    assert dict(Sale.objects.values_list("lead_id", "targetologist_id")) == {1: None, 2: "muha"}
    assert head.get(answer.url).context["plan"].changes == 2


def test_a_rule_put_before_all_others_is_tried_first(head):
    make_sale(1, utm_campaign="zzz")
    rule = {
        "targetologist": "muha", "field": "utm_campaign", "match": "contains", "pattern": "kenji", "place": "top",
    }  # fmt: skip
    head.post(group_url(utm_campaign="zzz"), {**rule, "save": "1"})
    assert arrives(2, utm_campaign="kenji").targetologist_id == "muha"


def test_a_run_is_previewed_confirmed_carried_out_and_undone(head, monkeypatch, django_capture_on_commit_callbacks):
    deferred: list[int] = []
    monkeypatch.setattr(tasks.carry_on_run, "defer", lambda run_id: deferred.append(run_id))
    make_sale(1, utm_campaign="kenji", targetologist=Targetologist.objects.get(slug="muha"))
    page = head.get(reverse(NEW_RUN))
    assert [(b, a, m.totals.sales) for b, a, m in page.context["moves"]] == [("Muha 🚀", "Kenesary 👑", 1)]
    day = timezone.localdate().isoformat()
    data = {"from": day, "to": day, "version": page.context["version"], "reason": "Новое правило"}
    with django_capture_on_commit_callbacks(execute=True):
        answer = head.post(reverse(NEW_RUN), data)
    run = ReattributionRun.objects.get()
    assert (answer.url, deferred, str(run.author)) == (
        reverse("admin:traffic_reattributionrun_change", args=[run.pk]), [run.pk], "head",
    )  # fmt: skip
    assert 'http-equiv="refresh"' in head.get(answer.url).content.decode()
    tasks.carry_on_run(run.pk)
    assert Sale.objects.get().targetologist_id == "kenesary"
    done = head.get(answer.url).content.decode()
    assert 'http-equiv="refresh"' not in done
    assert "Новое правило" in done
    with django_capture_on_commit_callbacks(execute=True):
        head.post(answer.url, {"undo": "1"})
    tasks.carry_on_run(run.pk)
    assert Sale.objects.get().targetologist_id == "muha"
    assert "Отменил" in head.get(answer.url).content.decode()


def test_a_confirmation_of_rules_that_changed_meanwhile_is_shown_anew(head):
    make_sale(1, utm_campaign="kenji", targetologist=Targetologist.objects.get(slug="muha"))
    version = head.get(reverse(NEW_RUN)).context["version"]
    AttributionRule.objects.filter(pattern="kenji").delete()
    answer = head.post(reverse(NEW_RUN), {"version": version})
    assert "За это время правила изменились" in answer.content.decode()
    assert not ReattributionRun.objects.exists()


@pytest.mark.parametrize("query", [{"from": "gestern"}, {"from": "2025-12-02", "to": "2025-12-01"}])
def test_a_period_that_cannot_be_is_said(head, query: dict[str, str]):
    assert "Показан текущий месяц." in head.get(reverse(NEW_RUN), query).content.decode()


def test_a_pattern_of_spaces_is_refused(head):
    data = {"targetologist": "muha", "field": "utm_source", "match": "contains", "pattern": "\u2003 ", "order": 5}
    answer = head.post(reverse("admin:traffic_attributionrule_add"), data)
    assert answer.status_code == 200
    assert answer.context["adminform"].form.errors["pattern"]


def test_a_pattern_that_is_too_long_when_it_is_compared_is_refused(head):
    data = {"targetologist": "muha", "field": "utm_source", "match": "contains", "pattern": "№" * 101, "order": 5}
    page = head.post(reverse("admin:traffic_attributionrule_add"), data).content.decode()
    complaint = "Образец слишком длинный: сравниваются 202"
    assert complaint in page
    make_sale(1)
    assert complaint in head.post(group_url(), {**data, "place": "end", "save": "1"}).content.decode()
    assert not AttributionRule.objects.filter(pattern__contains="№").exists()
    assert head.post(reverse("admin:traffic_attributionrule_add"), {**data, "pattern": "№" * 100}).status_code == 302


def test_a_run_that_failed_says_why_and_is_carried_on_or_undone(head, monkeypatch, django_capture_on_commit_callbacks):
    deferred: list[int] = []
    monkeypatch.setattr(tasks.carry_on_run, "defer", lambda run_id: deferred.append(run_id))
    version = RuleVersion.objects.get(pk=current_rulebook().version or 0)
    run = ReattributionRun.objects.create(
        first_day=timezone.now(), last_day=timezone.now(), version=version, state="failed", error="<bad>", moved=1
    )
    url = reverse("admin:traffic_reattributionrun_change", args=[run.pk])
    page = head.get(url).content.decode()
    assert "остановлено: &lt;bad&gt;" in page
    assert "Отменить" in page
    with django_capture_on_commit_callbacks(execute=True):
        head.post(url, {"go_on": "1"})
    run.refresh_from_db()
    assert (run.state, deferred) == ("running", [run.pk])


# --- A group of one's own making that may look, and no more --------------------------------------


@pytest.fixture
def reader(client: Client) -> Client:
    user = make_user("reader")
    names = ["view_all_sales", "view_attributionrule", "view_sale", "view_reattributionrun", "view_saleoverride"]
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="traffic", codename__in=names))
    client.force_login(user)
    return client


def test_who_may_only_look_gives_no_group_to_anybody(reader):
    make_sale(1, utm_campaign="Random")
    url = group_url(utm_campaign="Random")
    assert reader.get(url).status_code == 200
    assert reader.post(url, {"assign": "1", "owner": "traf4", "reason": "x"}).status_code == 403
    assert not SaleOverride.objects.exists()


def test_who_may_only_look_saves_no_rule(reader):
    rule = {
        "targetologist": "muha", "field": "utm_campaign", "match": "contains", "pattern": "zzz", "place": "top",
    }  # fmt: skip
    assert reader.post(group_url(utm_campaign="zzz"), {**rule, "try": "1"}).status_code == 200
    assert reader.post(group_url(utm_campaign="zzz"), {**rule, "save": "1"}).status_code == 403
    assert not AttributionRule.objects.filter(pattern="zzz").exists()


@pytest.mark.parametrize(("state", "button"), [("done", "undo"), ("failed", "go_on"), ("running", "go_on")])
def test_who_may_only_look_undoes_and_carries_on_no_run(
    reader, state: str, button: str, monkeypatch, django_capture_on_commit_callbacks
):
    deferred: list[int] = []
    monkeypatch.setattr(tasks.carry_on_run, "defer", lambda run_id: deferred.append(run_id))
    version = RuleVersion.objects.get(pk=current_rulebook().version or 0)
    today = timezone.localdate()
    run = ReattributionRun.objects.create(first_day=today, last_day=today, version=version, state=state, moved=1)
    url = reverse("admin:traffic_reattributionrun_change", args=[run.pk])
    page = reader.get(url)
    assert page.status_code == 200
    assert f'name="{button}"' not in page.content.decode()
    with django_capture_on_commit_callbacks(execute=True):
        assert reader.post(url, {button: "1"}).status_code == 403
    run.refresh_from_db()
    assert (run.state, deferred) == (state, [])


def test_pages_ask_as_often_for_many_sales_as_for_one(head, django_assert_max_num_queries):
    for number in range(40):
        make_sale(number, utm_campaign=f"kenji {number}")
    for url in (reverse(QUEUE), reverse(NEW_RUN)):
        with django_assert_max_num_queries(14):
            head.get(url)
