from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traffic.attribution import Attribution, Funnel, Rule, attribute, funnel
from traffic.rules.book import select_rules
from traffic.seeds import FUNNELS, TARGETOLOGISTS
from webhooks.utm import normalise, referral_code


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("campaign", "source", "medium", "who"),
    [
        ("tripwire_17.12", "", "", "kenesary"),
        ("arystan_16.12", "", "", "arystan"),
        ("Запуск на On AI 15.12", "", "", "muha"),
        ("Proftest/alex", "", "", "traf4"),
        ("Random Campaign", "facebook", "", None),
        ("", "kenesary_test", "", "kenesary"),
        ("x", "fb", "yourmarketolog", "muha"),
        ("arystan_1", "fb", "yourmarketolog", "arystan"),
        ("x", "pb_agency", "nutcab", "traf4"),
        ("NutCab", "arystan", "", "kenesary"),
        ("ЗАПУСК  НА", "", "", "muha"),
        ("ｏｎ ａｉ", "", "", "muha"),
        ("", "", "", None),
    ],
)
def test_the_seeded_rules_attribute_as_the_contract_says(campaign: str, source: str, medium: str, who: str | None):
    found = attribute({"utm_campaign": campaign, "utm_source": source, "utm_medium": medium}, select_rules())
    assert found.targetologist == who
    assert found.channel == ("targetologist" if who else "unknown")


@pytest.mark.django_db
@pytest.mark.parametrize("source", ["ref_aru", "REF_aru", " Ref_Aru "])
def test_a_referral_is_nobodys_even_where_a_rule_would_match(source: str):
    found = attribute({"utm_source": source, "utm_campaign": "tripwire"}, select_rules())
    assert (found.channel, found.targetologist, found.text) == ("referral", None, "ref_aru")


@pytest.mark.django_db
def test_it_says_by_which_rule_field_and_text():
    found = attribute({"utm_campaign": "x", "utm_source": "Kenji"}, select_rules())
    assert (found.field, found.text) == ("utm_source", "kenji")
    assert found.rule_id in {rule.id for rule in select_rules() if rule.pattern == "kenji"}


@pytest.mark.parametrize(
    ("match", "value", "matches"),
    [("equals", "AB", True), ("equals", "abc", False), ("starts_with", "abc", True), ("starts_with", "xab", False),
     ("contains", "xabx", True), ("contains", "a b", False)],
)  # fmt: skip
def test_each_kind_of_match(match: str, value: str, matches: bool):
    rule = Rule(1, "who", "utm_term", match, "ab")
    assert (attribute({"utm_term": value}, [rule]).targetologist == "who") == matches


@pytest.mark.parametrize(
    ("campaign", "expected"),
    [("Express 1", "express"), ("экспресс", "express"), ("challenge", "challenge3d"), ("Трёхдневник", "challenge3d"),
     ("x_3D", "challenge3d"), ("Intensive", "intensive1d"), ("однодневник", "intensive1d"), ("1d", "intensive1d"),
     ("anything", "express"), ("", "express")],
)  # fmt: skip
def test_the_funnel_of_a_campaign(campaign: str, expected: str):
    seeded = [Funnel(slug, words, slug == "express") for slug, _, words in FUNNELS]
    assert funnel(campaign, seeded) == expected


texts = st.text(st.sampled_from("abкК_ {}é ё"), max_size=6)
rules = st.lists(
    st.builds(
        Rule, id=st.integers(1, 9), targetologist=st.sampled_from("xyz"),
        field=st.sampled_from(["campaign_or_source", "utm_campaign", "utm_medium"]),
        match=st.sampled_from(["contains", "equals", "starts_with"]), pattern=texts.map(normalise).filter(bool),
    ),
    max_size=5,
)  # fmt: skip
utms = st.fixed_dictionaries({}, optional=dict.fromkeys(("utm_campaign", "utm_source", "utm_medium"), texts))


@given(utms, rules)
def test_the_first_rule_that_would_match_alone_wins(utm: dict[str, str], some: list[Rule]):
    alone = [attribute(utm, [rule]) for rule in some]
    assert attribute(utm, some) == next((found for found in alone if found.targetologist), Attribution("unknown"))


@given(utms, rules)
def test_case_and_spaces_make_no_difference(utm: dict[str, str], some: list[Rule]):
    assert attribute({name: f"  {value.upper()} " for name, value in utm.items()}, some) == attribute(utm, some)


def test_every_targetologist_of_the_contract_is_seeded():
    assert [name for _, name, _, _ in TARGETOLOGISTS] == ["Kenesary", "Arystan", "Muha", "Traf4"]


@pytest.mark.parametrize(
    ("source", "code"), [("ref_a", "ref_a"), ("REF_A ", "ref_a"), ("xref_a", None), ("ref", None), ("", None)]
)
def test_referral_codes_begin_with_ref(source: str, code: str | None):
    assert referral_code(source) == code
