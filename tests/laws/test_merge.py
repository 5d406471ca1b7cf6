"""Law 3, the merge alone: commutative, associative, idempotent, and so free of order."""

from __future__ import annotations

from functools import reduce
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.bodies import LOST, OPEN, PIPELINE, WON
from webhooks import merge
from webhooks.amocrm.events import API, DealEvent
from webhooks.merge import Seen, State

DAY = 1766217600

# Few values, so that ties, repeats and contradictions are common.
seconds = st.integers(0, 3).map(lambda second: DAY + second)
deal_events: st.SearchStrategy[DealEvent] = st.builds(
    DealEvent,
    action=st.sampled_from(["add", "update", "responsible", "status", "delete", "restore", API]),
    lead_id=st.just(1),
    name=st.sampled_from([None, "", "a", "b"]),
    price=st.sampled_from([None, 1, 2]),
    status_id=st.sampled_from([None, WON, LOST, OPEN]),
    old_status_id=st.none(),
    pipeline_id=st.sampled_from([None, PIPELINE, 999]),
    old_pipeline_id=st.none(),
    responsible_user_id=st.none(),
    created_at=st.none(),
    updated_at=st.none() | seconds,
    closed_at=st.none() | seconds,
    is_deleted=st.sampled_from([None, True, False]),
    contact_id=st.sampled_from([None, 1, 2]),
    tags=st.just(()),
    custom_fields=st.just(()),
    utm=st.sampled_from([{}, {"utm_source": "a"}, {"utm_source": "b", "utm_term": "t"}, {"fbclid": "f"}]),
    problems=st.just(()),
    raw=st.just({}),
)
places = st.builds(
    Seen, st.integers(0, 5).map(lambda second: (DAY + second) * merge.SECOND), st.integers(1, 4), st.integers(0, 1)
)
# One place tells one thing, as a stored delivery does.
logs = st.dictionaries(places, deal_events, min_size=1, max_size=8)


@given(logs, st.data())
def test_join_is_commutative_associative_and_idempotent(log: dict[Seen, DealEvent], data: Any):
    parts = [merge.contribution(event, seen) for seen, event in log.items()]

    def some() -> State:
        chosen: list[State] = data.draw(st.lists(st.sampled_from(parts), max_size=5))
        return reduce(merge.join, chosen, {})

    a, b, c = some(), some(), some()
    assert merge.join(a, b) == merge.join(b, a)
    assert merge.join(merge.join(a, b), c) == merge.join(a, merge.join(b, c))
    assert merge.join(a, a) == a


@given(logs, st.randoms(use_true_random=False))
def test_a_deal_is_a_function_of_the_set_of_its_deliveries(log: dict[Seen, DealEvent], random: Any):
    def folded(entries: list[tuple[Seen, DealEvent]]) -> tuple[State, merge.DealState]:
        state: State = reduce(merge.join, (merge.contribution(event, seen) for seen, event in entries), {})
        stages = merge.join_observations(filter(None, (merge.observation(event, seen) for seen, event in entries)))
        return state, merge.deal_state(1, state, stages.values())

    entries = list(log.items())
    again = entries + random.choices(entries, k=3)
    random.shuffle(again)
    assert folded(again) == folded(entries)


@given(logs)
def test_a_win_stands_only_where_the_deal_was_seen_won(log: dict[Seen, DealEvent]):
    state = reduce(merge.join, (merge.contribution(event, seen) for seen, event in log.items()))
    stages = list(filter(None, (merge.observation(event, seen) for seen, event in log.items())))
    deal = merge.deal_state(1, state, stages)
    if (win := deal.win()) is not None:
        assert any(stage.status_id == WON for stage in stages)
        assert not deal.is_deleted
        assert deal.status_id != LOST
        assert win.moved == (deal.status_id != WON or (deal.pipeline_id or 0) != win.pipeline_id)
    if deal.status_id == WON and not deal.is_deleted:
        assert deal.win() is not None
