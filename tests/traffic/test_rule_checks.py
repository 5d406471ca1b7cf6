from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traffic.attribution import UTM, Rule, attribute, macros
from traffic.rules.checks import shadowed_rules, shared_patterns
from traffic.rules.pasted import parse_utm


def rule(number: int, pattern: str, field: str = "utm_campaign", match: str = "contains", who: str = "x") -> Rule:
    return Rule(number, who, field, match, pattern)


@pytest.mark.parametrize(
    ("earlier", "later", "never"),
    [
        (rule(1, "kenji"), rule(2, "kenji_7"), True),
        (rule(1, "kenji_7"), rule(2, "kenji"), False),
        (rule(1, "kenji"), rule(2, "kenji_7", match="equals"), True),
        (rule(1, "kenji", match="starts_with"), rule(2, "kenji_7"), False),
        (rule(1, "kenji", match="starts_with"), rule(2, "kenji_7", match="starts_with"), True),
        (rule(1, "kenji", match="equals"), rule(2, "kenji", match="starts_with"), False),
        (rule(1, "kenji", match="equals"), rule(2, "kenji", match="equals"), True),
        (rule(1, "kenji"), rule(2, "kenji", field="utm_medium"), False),
        (rule(1, "kenji"), rule(2, "kenji", field="campaign_or_source"), False),
        (rule(1, "kenji", field="campaign_or_source"), rule(2, "kenji", field="utm_source"), True),
    ],
)
def test_a_rule_that_can_never_match_is_flagged(earlier: Rule, later: Rule, never: bool):
    assert (2 in shadowed_rules([earlier, later])) == never


def test_two_rules_together_shadow_one():
    both = [rule(1, "a"), rule(2, "b", field="utm_source"), rule(3, "ab", field="campaign_or_source")]
    assert shadowed_rules(both) == {3: (both[0], both[1])}


@pytest.mark.parametrize(("match", "never"), [("equals", True), ("starts_with", True), ("contains", False)])
def test_a_rule_for_referral_links_never_matches(match: str, never: bool):
    assert (1 in shadowed_rules([rule(1, "ref_a", field="utm_source", match=match)])) == never


def test_a_pattern_of_two_people_is_flagged_on_both():
    rules = [rule(1, "x", who="a"), rule(2, "x", "utm_term", who="b"), rule(3, "y", who="a"), rule(4, "y", who="a")]
    assert {key: [one.id for one in others] for key, others in shared_patterns(rules).items()} == {1: [2], 2: [1]}


texts = st.text(st.sampled_from("abr"), min_size=1, max_size=3)
rules = st.lists(
    st.tuples(
        st.sampled_from(["campaign_or_source", "utm_campaign", "utm_source"]),
        st.sampled_from(["contains", "equals", "starts_with"]),
        texts,
    ),
    max_size=5,
).map(lambda rows: [Rule(number, "x", *row) for number, row in enumerate(rows)])


@given(rules)
def test_flagged_are_exactly_the_rules_that_nothing_can_reach(some: list[Rule]):
    """A witness decides: a value that has the pattern and, where the match allows, letters that no pattern has."""
    flagged = shadowed_rules(some)
    for one in some:
        value = {"contains": "§{}§", "starts_with": "{}§", "equals": "{}"}[one.match].format(one.pattern)
        reached = any(attribute({field: value}, some).rule_id == one.id for field in one.fields)
        assert reached == (one.id not in flagged)


@given(rules, st.dictionaries(st.sampled_from(["utm_campaign", "utm_source"]), st.text("abr§", max_size=5)))
def test_a_flagged_rule_never_matches(some: list[Rule], utm: dict[str, str]):
    assert attribute(utm, some).rule_id not in shadowed_rules(some)


@pytest.mark.parametrize(
    ("value", "macro"),
    [
        ("{{campaign.name}}", "{{campaign.name}}"),
        ("x_{{ad.id}}_y", "{{ad.id}}"),
        ("{campaign_id}", "{campaign_id}"),
        ("__CAMPAIGN_NAME__", "__CAMPAIGN_NAME__"),
        ("%7B%7Bcampaign.name%7D%7D", "%7B%7Bcampaign.name%7D%7D"),
        ("tripwire__kz__17", None),
        ("plain {17}", None),
    ],
)
def test_macros_that_nobody_replaced_are_found(value: str, macro: str | None):
    assert macros({"utm_campaign": value}).get("utm_campaign") == macro


def test_an_empty_pattern_matches_nothing():
    assert attribute({"utm_campaign": "x"}, [rule(1, "")]).channel == "unknown"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://onai.kz/?utm_source=fb&utm_campaign=on+ai%207#top", {"utm_source": "fb", "utm_campaign": "on ai 7"}),
        ("utm_medium=cpc&utm_term=", {"utm_medium": "cpc", "utm_term": ""}),
        ("utm_campaign: Запуск On AI\nutm_source = fb", {"utm_campaign": "Запуск On AI", "utm_source": "fb"}),
        ("utm_campaign=Запуск на On AI", {"utm_campaign": "Запуск на On AI"}),
        ('{"utm_source": "fb", "utm_medium": "cpc"}', {"utm_source": "fb", "utm_medium": "cpc"}),
        ("utm_campaign=on%20ai_15", {"utm_campaign": "on ai_15"}),
        ("utm_campaign=on+ai%5F15&gclid=7", {"utm_campaign": "on ai_15"}),
        ("utm_campaign=on+ai&gclid=7", {"utm_campaign": "on ai"}),
        ("https://onai.kz/?utm_campaign=on+ai", {"utm_campaign": "on ai"}),
        ("utm_campaign: Кто ты? a+b", {"utm_campaign": "Кто ты? a+b"}),
        ("utm_campaign=Кто ты? a+b", {"utm_campaign": "Кто ты? a+b"}),
        ("utm_campaign: Курс & a+b, 100%25", {"utm_campaign": "Курс & a+b, 100%25"}),
        ("utm_campaign=Скидка 50% + курс", {"utm_campaign": "Скидка 50% + курс"}),
        ("UTM_SOURCE=fb", {"utm_source": "fb"}),
        ("просто текст", {}),
        ("", {}),
    ],
)  # fmt: skip
def test_utm_is_read_as_people_paste_it(text: str, expected: dict[str, str]):
    assert parse_utm(text) == expected


@given(st.dictionaries(st.sampled_from(UTM), st.text("abc яЁ17{}._-%+", max_size=12)))
def test_an_address_gives_back_what_was_put_into_it(utm: dict[str, str]):
    from urllib.parse import urlencode

    wanted = {name: value.strip(" ") for name, value in utm.items()}
    assert parse_utm("https://onai.kz/?" + urlencode(utm)) == {name: wanted[name] for name in UTM if name in wanted}
