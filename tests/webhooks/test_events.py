from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import bodies
from webhooks.amocrm import events, form

IDS = {"utm_source": "434731", "utm_campaign": "434729"}


def parse(body: bytes, content_type: str = bodies.FORM, **options: Any) -> events.Parsed:
    return events.parse(form.decode(body, content_type), **{"utm_field_ids": IDS, **options})


def deals(name: str, **options: Any) -> list[events.DealEvent]:
    parsed = parse(bodies.payload(name), bodies.content_type(name), **options)
    return [event for event in parsed.events if isinstance(event, events.DealEvent)]


def deal(name: str, **options: Any) -> events.DealEvent:
    (event,) = deals(name, **options)
    return event


# --- the captured bodies ------------------------------------------------------------------------

captured = pytest.mark.skipif(not bodies.CAPTURED.is_dir(), reason="the captured bodies are not on this machine")


def expectations() -> dict[str, Any]:
    path = bodies.CAPTURED / "EXPECTED.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else {}


@captured
def test_there_are_48_captured_bodies():
    assert len(expectations()) == 48


@captured
@pytest.mark.parametrize("name", expectations())
def test_a_captured_body_gives_its_expectation(name: str):
    expected = expectations()[name]
    parsed = parse((bodies.CAPTURED / "payloads" / name).read_bytes(), bodies.content_type(name), utm_field_ids={})
    assert (parsed.account.id, parsed.account.subdomain) == (expected["account_id"], expected["subdomain"])
    assert [described(event) for event in parsed.events] == [without_index(event) for event in expected["events"]]


def without_index(expected: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in expected.items() if key != "index"}


def described(event: events.DealEvent | events.OtherEvent) -> dict[str, Any]:
    """Return an event in the words of EXPECTED.json."""
    raw = event.raw
    told: dict[str, Any] = {"event": event.name_of_action}
    if isinstance(event, events.DealEvent):
        assert not event.problems
        assert (
            event.updated_at == int(raw.get("updated_at") or raw.get("last_modified") or 0) or event.updated_at is None
        )
        told |= {"id": str(event.lead_id), "won": event.status_id == events.WON and event.action in WON_ACTIONS}
        for name in ("status_id", "old_status_id", "pipeline_id", "old_pipeline_id", "responsible_user_id", "price"):
            if (value := getattr(event, name)) is not None:
                told[name] = str(value)
        if event.custom_fields:
            told["custom_fields"] = [field_told(field) for field in event.custom_fields]
        names: tuple[str, ...] = ("last_modified", "updated_at")
    else:
        told |= {"id": event.id, "won": False}
        names = ("responsible_user_id", "type", "last_modified", "updated_at", "lead_id", "entity_id", "pipeline_id")
        if event.action == "note":
            told |= {"lead_or_element_id": raw["element_id"], "element_type": raw["element_type"]}
            names = ()
        if "custom_fields" in raw:
            told["custom_fields"] = [field_told(field) for field in events.custom_fields(raw)]
    return told | {name: raw[name] for name in names if name in raw}


def field_told(field: events.CustomField) -> dict[str, Any]:
    told = {"id": field.id, "name": field.name, "code": field.code}
    return {key: value for key, value in told.items() if value is not None} | {"values": list(field.values)}


WON_ACTIONS = ("add", "update", "status")


# --- our own bodies, one for each shape ---------------------------------------------------------


def test_a_won_deal_is_read_whole():
    event = deal("won-status-coded-utm.txt")
    assert (event.action, event.lead_id, event.status_id, event.old_status_id) == ("status", 5000001, 142, 81000001)
    assert (event.pipeline_id, event.price, event.updated_at) == (10418746, Decimal(100000), 1766217600)
    assert event.name == "Курс «Нейросети» — Айгерим"
    assert event.tags == ("сайт",)
    assert event.utm == {"utm_source": "kenesary_test", "utm_campaign": "tripwire_17.12", "utm_medium": "cpc"}
    assert event.problems == ()


def test_the_account_may_come_last_and_keys_unencoded():
    name = "won-status-account-last-plain-keys.txt"
    parsed = parse(bodies.payload(name))
    assert parsed.account == events.Account("31000001", "school")
    assert deal(name).utm == {"utm_campaign": "Запуск на On AI 15.12"}


def test_a_deal_created_in_a_stage_comes_as_add():
    assert (deal("won-add.txt").action, deal("won-add.txt").status_id) == ("add", 142)


def test_a_list_may_be_an_index_object_and_values_plain_texts():
    event = deal("won-without-pipeline-string-values.json")
    assert (event.pipeline_id, event.price) == (None, Decimal(0))
    assert event.custom_fields == (events.CustomField("11", "Field", None, ("text",)),)


def test_field_names_may_hold_brackets_and_dates_are_bare():
    fields = deal("update-with-old-status-brackets-in-a-field-name.txt").custom_fields
    assert [(field.name, field.values) for field in fields] == [
        ("Группа [дистант]", ("ФН-4",)),
        ("Начало", ("1766188800",)),
    ]


def test_every_shape_of_values_is_read():
    fields = deal("update-all-kinds-of-values.txt").custom_fields
    assert [field.values for field in fields] == [("А", "Б"), ("2",), ("1766188800",), (), ("есть",)]
    assert fields[-1].id is None


@pytest.mark.parametrize(
    ("name", "action"),
    [("responsible.txt", "responsible"), ("delete.txt", "delete"), ("delete-id-only.json", "delete"),
     ("restore.json", "restore"), ("lost.txt", "status")],
)  # fmt: skip
def test_each_action_is_told_apart(name: str, action: str):
    assert (deal(name).action, deal(name).lead_id) == (action, 5000001)


def test_a_digital_pipeline_hook_has_ids_only():
    event = deal("digital-pipeline-won.txt")
    assert (event.status_id, event.pipeline_id, event.old_pipeline_id) == (142, 10418746, 10418746)
    assert (event.name, event.price, event.updated_at, event.utm) == (None, None, None, {})


def test_a_subdomain_may_be_all_digits():
    assert parse(bodies.payload("digital-pipeline-add-plain-keys.txt")).account.subdomain == "77"


def test_the_widget_variant_is_no_deal_event():
    parsed = parse(bodies.payload("digital-pipeline-widget.txt"))
    assert (parsed.events, parsed.account.id) == ((), None)
    assert parsed.keys == ("event", "action", "subdomain", "account_id")


def test_several_leads_actions_and_entities_share_a_body():
    parsed = parse(bodies.payload("several-leads-and-entities-with-gaps.txt"))
    deals_told = [event for event in parsed.events if isinstance(event, events.DealEvent)]
    assert [(event.name_of_action, event.lead_id) for event in deals_told] == [
        ("leads.add", 5000010), ("leads.add", 5000011), ("leads.status", 5000010),
    ]  # fmt: skip
    assert parsed.events[-1].name_of_action == "contacts.update"


@pytest.mark.parametrize(
    ("name", "action", "identity"),
    [
        ("note.txt", "leads.note", "4600001"),
        ("company-under-contacts.txt", "contacts.add", "52000001"),
        ("contact-linked-leads.txt", "contacts.update", "22000001"),
        ("unsorted.json", "unsorted.add", "c0ffee"),
        ("message.txt", "message.add", "a-b-c"),
        ("talk.json", "talk.update", "191"),
    ],
)
def test_what_is_no_deal_is_an_event_all_the_same(name: str, action: str, identity: str):
    (event,) = parse(bodies.payload(name), bodies.content_type(name)).events
    assert isinstance(event, events.OtherEvent)
    assert (event.name_of_action, event.id, event.problem) == (action, identity, "")


@pytest.mark.parametrize("name", ["account-only.txt", "empty.txt"])
def test_a_body_may_have_no_event(name: str):
    assert parse(bodies.payload(name)).events == ()


def test_a_plain_json_list_of_leads_is_read():
    event = deal("plain-json-list.json")
    assert (event.action, event.lead_id, event.status_id) == ("update", 5000006, 142)
    assert (event.price, event.utm) == (Decimal(250001), {"utm_source": "ref_aru"})


def test_the_v4_shape_is_read():
    assert deal("v4-shape.json").utm == {"utm_campaign": "arystan_16.12"}


def test_an_api_answer_is_a_snapshot():
    event = deal("api-answer.json", snapshot=True)
    assert event.is_snapshot
    assert (event.closed_at, event.is_deleted, event.contact_id, event.utm) == (1766217600, False, 8, {})


# --- UTM, prices, times -------------------------------------------------------------------------


def utm_of(*fields: dict[str, Any]) -> dict[str, str]:
    (event,) = events.parse(
        {"leads": {"update": [{"id": "1", "custom_fields": list(fields)}]}}, utm_field_ids=IDS
    ).events
    assert isinstance(event, events.DealEvent)
    return dict(event.utm)


def field(value: str, **names: str) -> dict[str, Any]:
    return {**names, "values": [{"value": value}]}


def test_utm_is_found_by_code_then_id_then_exact_name():
    by_name, by_id = field("name", name="utm_source"), field("id", id="434731", name="Метка")
    by_code = field("code", id="9", name="x", code="UTM_SOURCE")
    assert utm_of(by_name, by_id, by_code) == {"utm_source": "code"}
    assert utm_of(by_id, by_name) == {"utm_source": "id"}
    assert utm_of(by_name) == {"utm_source": "name"}


def test_an_empty_field_never_hides_a_filled_one():
    assert utm_of({"code": "UTM_SOURCE"}, field(" ", code="UTM_SOURCE"), field("x", name="utm_source")) == {
        "utm_source": "x"
    }


def test_a_field_called_istochnik_is_not_utm_source():
    assert utm_of(field("Сайт", name="Источник")) == {}


@pytest.mark.parametrize(
    ("text", "price"),
    [("100000", 100000), ("0", 0), ("99.5", 100), ("100,49", 100), ("", None), (None, None),
     ("NaN", None), ("1e999", None), ("-5", None), ("9" * 40, None), ("٣", None), ("1 000", None)],
)  # fmt: skip
def test_a_price_is_whole_units_or_unknown_never_a_default(text: str | None, price: int | None):
    (event,) = events.parse({"leads": {"add": [{"id": "1", "price": text}]}}, utm_field_ids={}).events
    assert isinstance(event, events.DealEvent)
    assert event.price == (None if price is None else Decimal(price))
    assert bool(event.problems) == (price is None and bool(text))


@pytest.mark.parametrize("bad", ["0", "-1", "99999999999999", "tomorrow", "1e9", ""])
def test_a_time_that_cannot_be_is_none(bad: str):
    (event,) = events.parse({"leads": {"add": [{"id": "1", "updated_at": bad}]}}, utm_field_ids={}).events
    assert isinstance(event, events.DealEvent)
    assert event.updated_at is None


def test_last_modified_stands_in_for_updated_at():
    (event,) = events.parse({"leads": {"add": [{"id": "1", "last_modified": "1456820780"}]}}, utm_field_ids={}).events
    assert isinstance(event, events.DealEvent)
    assert event.updated_at == 1456820780


@pytest.mark.parametrize("bad", ["abc", "", None, "0", "1" * 30, "-7", "1.5"])
def test_a_deal_without_a_usable_id_is_a_problem_and_no_exception(bad: str | None):
    (event,) = events.parse({"leads": {"status": [{"id": bad, "status_id": "142"}]}}, utm_field_ids={}).events
    assert isinstance(event, events.OtherEvent)
    assert event.problem


def test_nul_and_half_surrogates_are_replaced():
    parsed = events.parse({"leads": {"add": [{"id": "1", "name": "a\x00b\ud800"}]}}, utm_field_ids={})
    assert parsed.events[0].name == "a\ufffdb\ufffd"  # type: ignore[union-attr]


KEYS = ["leads", "status", "add", "0", "1", "id", "custom_fields", "values", "value", "price", "_embedded", "note"]
KEYS += ["tags", "name", "account"]

json_values = st.recursive(
    st.none() | st.booleans() | st.text(max_size=5) | st.sampled_from(["1", "142", "id", "leads"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(KEYS),
        inner, max_size=4,
    ),
    max_leaves=25,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["leads", "account", "contacts", "_embedded"]), json_values), st.booleans())
def test_no_tree_breaks_it(tree: dict[str, Any], snapshot: bool):
    parsed = events.parse(tree, utm_field_ids=IDS, snapshot=snapshot)
    assert all(event.name_of_action for event in parsed.events)
