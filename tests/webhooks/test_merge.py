"""The named cases of law 3; the laws themselves are in tests/laws/."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import reduce
from itertools import permutations
from typing import Any

import pytest

from tests.bodies import LOST, OPEN, PIPELINE, WON
from webhooks import merge
from webhooks.amocrm import events
from webhooks.merge import DealState, Seen

DAY = 1766217600  # 2025-12-20 08:00 UTC
ELSEWHERE = 999


def event(action: str = "status", **values: Any) -> events.DealEvent:
    utm = {name: values.pop(name) for name in list(values) if name.startswith("utm_")}
    item = {"id": "1", "status_id": str(WON), "pipeline_id": str(PIPELINE), **values}
    fields = [{"code": name.upper(), "values": [{"value": value}]} for name, value in utm.items()]
    raw = {name: value for name, value in item.items() if value is not None} | {"custom_fields": fields}
    if action == events.API:
        tree: dict[str, Any] = {"_embedded": {"leads": [raw]}}
    else:
        tree = {"leads": {action: [raw]}}
    (result,) = events.parse(tree, utm_field_ids={}, snapshot=action == events.API).events
    assert isinstance(result, events.DealEvent)
    assert not result.problems
    return result


def fold(*told: tuple[int, events.DealEvent]) -> DealState:
    """Fold events that arrive at the given seconds after DAY, in every order; they must all agree."""
    placed = [(one, Seen((DAY + at) * merge.SECOND, number, 0)) for number, (at, one) in enumerate(told, start=1)]
    results = set()
    last: DealState | None = None
    for order in permutations(placed) if len(placed) < 6 else [placed, placed[::-1]]:
        state: merge.State = reduce(merge.join, (merge.contribution(one, seen) for one, seen in order), {})
        stages = merge.join_observations(filter(None, (merge.observation(one, seen) for one, seen in order)))
        last = merge.deal_state(1, state, stages.values())
        results.add(repr(last))
    assert len(results) == 1
    assert last is not None
    return last


def at(second: int) -> str:
    return str(DAY + second)


def moment(second: int) -> datetime:
    return datetime.fromtimestamp(DAY + second, UTC)


def test_the_later_crm_time_wins_whatever_came_first():
    deal = fold((10, event(updated_at=at(9), price="2")), (20, event(updated_at=at(1), price="1", status_id=str(OPEN))))
    assert (deal.price, deal.status_id) == (2, WON)


def test_in_one_second_a_status_outranks_an_update_and_an_update_an_add():
    deal = fold(
        (1, event("status", updated_at=at(0))),
        (2, event("update", updated_at=at(0), status_id=str(OPEN))),
        (3, event("add", updated_at=at(0), status_id=str(LOST))),
    )
    assert deal.status_id == WON


def test_same_second_won_reopened_then_won_resent():
    deal = fold(
        (1, event(updated_at=at(0))),
        (2, event(updated_at=at(0), status_id=str(OPEN))),
        (300, event(updated_at=at(0))),  # the retry
    )
    assert (deal.status_id, deal.win()) == (OPEN, None)
    assert deal.needs_check


def test_same_second_open_then_won_is_won_then():
    deal = fold((1, event(updated_at=at(0), status_id=str(OPEN))), (2, event(updated_at=at(0))))
    assert deal.won_at == moment(0)


def test_a_deletion_takes_the_win_back_and_keeps_the_fields():
    deal = fold((1, event(updated_at=at(0), price="5")), (2, event("delete")))
    assert (deal.is_deleted, deal.price, deal.win()) == (True, 5, None)


def test_a_restore_with_an_old_last_modified_ends_a_deletion():
    deal = fold((1, event(updated_at=at(0))), (50, event("delete")), (90, event("restore", last_modified=at(0))))
    win = deal.win()
    assert not deal.is_deleted
    assert win is not None
    assert (win.at, win.number) == (moment(0), 1)


def test_an_update_dated_after_the_deletion_ends_it_and_an_older_one_does_not():
    assert not fold((10, event("delete")), (30, event("update", updated_at=at(20)))).is_deleted
    assert fold((10, event("delete")), (30, event("update", updated_at=at(5)))).is_deleted


def test_a_win_told_only_by_digital_pipeline_dates_from_its_arrival():
    deal = fold((7, event(status_id=str(OPEN), updated_at=at(0))), (60, event()))
    assert (deal.status_id, deal.won_at, deal.needs_check) == (WON, moment(60), True)


def test_an_untimed_event_loses_to_a_timed_one_that_came_after_it():
    assert fold((60, event()), (70, event(updated_at=at(65), status_id=str(LOST)))).status_id == LOST


def test_a_win_that_was_overruled_by_what_came_after_it_is_a_past_one():
    deal = fold((60, event()), (70, event(updated_at=at(5), status_id=str(LOST))))
    win = deal.taken_back()
    assert win is not None
    assert (deal.status_id, win.at, win.number) == (LOST, moment(60), 1)


def test_an_untimed_event_that_agrees_with_the_timed_one_needs_no_check():
    deal = fold((1, event(updated_at=at(0), price="1")), (2, event()))
    assert not deal.needs_check


def test_a_price_edit_nine_days_after_the_win_keeps_its_date():
    late = 9 * 86400
    deal = fold((1, event(updated_at=at(0), price="1")), (late, event("update", updated_at=at(late), price="2")))
    win = deal.win()
    assert win is not None
    assert (win.at, deal.price) == (moment(0), 2)


def test_won_lost_won_dates_from_the_second_win():
    deal = fold(
        (1, event(updated_at=at(0))),
        (2, event(updated_at=at(100), status_id=str(LOST))),
        (3, event(updated_at=at(200))),
    )
    win = deal.win()
    assert win is not None
    assert (deal.won_at, win.number) == (moment(200), 2)


@pytest.mark.parametrize("status", [OPEN, LOST])
def test_an_open_stage_of_the_same_pipeline_or_a_loss_takes_it_back(status: int):
    assert fold((1, event(updated_at=at(0))), (2, event(updated_at=at(9), status_id=str(status)))).win() is None


def test_moved_to_another_pipeline_the_win_stays():
    deal = fold(
        (1, event(updated_at=at(0))), (2, event(updated_at=at(9), status_id=str(OPEN), pipeline_id=str(ELSEWHERE)))
    )
    win = deal.win([PIPELINE])
    assert win == merge.Win(PIPELINE, moment(0), moved=True, number=1)


def test_won_in_another_pipeline_as_well_the_first_win_stays():
    deal = fold((1, event(updated_at=at(0))), (2, event(updated_at=at(9), pipeline_id=str(ELSEWHERE))))
    assert deal.win([PIPELINE]) == merge.Win(PIPELINE, moment(0), moved=True, number=1)
    assert deal.win([ELSEWHERE]) == merge.Win(ELSEWHERE, moment(9), moved=False, number=1)
    assert deal.win() == merge.Win(PIPELINE, moment(0), moved=True, number=1)


def test_won_then_an_open_stage_elsewhere_then_lost_is_taken_back():
    deal = fold(
        (1, event(updated_at=at(0))),
        (2, event(updated_at=at(9), status_id=str(OPEN), pipeline_id=str(ELSEWHERE))),
        (3, event(updated_at=at(20), status_id=str(LOST), pipeline_id=str(ELSEWHERE))),
    )
    assert deal.win() is None


def test_a_win_taken_back_is_remembered_until_it_is_won_again():
    won, lost = (1, event(updated_at=at(0))), (2, event(updated_at=at(9), status_id=str(LOST)))
    assert fold(won).taken_back() is None
    assert fold(won, lost).taken_back([PIPELINE]) == merge.Win(PIPELINE, moment(0), moved=False, number=1)
    assert fold(won, lost).taken_back([ELSEWHERE]) is None
    assert fold(won, lost, (3, event(updated_at=at(20)))).taken_back() is None


def test_of_several_wins_the_one_that_fell_last_is_the_one_taken_back():
    deal = fold(
        (1, event(updated_at=at(0))),
        (2, event(updated_at=at(9), pipeline_id=str(ELSEWHERE))),
        (3, event(updated_at=at(20), status_id=str(OPEN))),
        (4, event(updated_at=at(30), status_id=str(LOST))),
    )
    assert deal.taken_back() == merge.Win(ELSEWHERE, moment(9), moved=False, number=1)
    assert deal.taken_back([PIPELINE]) == merge.Win(PIPELINE, moment(0), moved=False, number=1)


def test_the_win_of_a_deleted_deal_is_taken_back_until_it_is_restored():
    won, deleted = (1, event(updated_at=at(0))), (5, event("delete"))
    assert fold(won, deleted).taken_back() == merge.Win(PIPELINE, moment(0), moved=False, number=1)
    assert fold(won, deleted, (9, event("restore", last_modified=at(0)))).taken_back() is None


def test_a_win_without_a_pipeline_is_won_where_the_deal_was():
    deal = fold((1, event(updated_at=at(0), status_id=str(OPEN))), (2, event(updated_at=at(5), pipeline_id=None)))
    assert deal.win([PIPELINE]) == merge.Win(PIPELINE, moment(5), moved=False, number=1)


def test_what_is_absent_erases_nothing():
    deal = fold(
        (1, event(updated_at=at(0), price="5", name="n", utm_source="s", utm_term="t")),
        (2, event("update", updated_at=at(9))),
    )
    assert (deal.price, deal.name, deal.utm_source, deal.utm_term) == (5, "n", "s", "t")


def test_utm_values_come_together():
    deal = fold(
        (1, event(updated_at=at(0), utm_source="s", utm_term="t")), (2, event(updated_at=at(9), utm_source="new"))
    )
    assert (deal.utm_source, deal.utm_term) == ("new", "")


def test_an_api_answer_is_a_snapshot_in_which_absent_is_empty():
    deal = fold(
        (1, event(updated_at=at(0), price="5", name="n", utm_source="s")), (9, event(events.API, updated_at=at(0)))
    )
    assert (deal.price, deal.name, deal.utm_source, deal.needs_check) == (None, "", "", False)


def test_closed_at_of_the_current_win_is_its_date():
    deal = fold((1, event(updated_at=at(900))), (2, event(events.API, updated_at=at(900), closed_at=at(300))))
    win = deal.win()
    assert win is not None
    assert (win.at, deal.won_at) == (moment(300), moment(900))


def test_closed_at_of_an_earlier_win_is_not():
    deal = fold(
        (1, event(events.API, updated_at=at(10), closed_at=at(10))),
        (2, event(updated_at=at(20), status_id=str(LOST))),
        (3, event(updated_at=at(30))),
    )
    win = deal.win()
    assert win is not None
    assert win.at == moment(30)


def test_an_api_answer_settles_what_rested_on_an_untimed_event():
    answer = event(events.API, updated_at=at(0), status_id=str(OPEN))
    assert fold((5, answer), (60, event())).status_id == WON
    settled = fold((5, answer), (60, event()), (65, answer))
    assert (settled.status_id, settled.needs_check) == (OPEN, False)


def test_an_untimed_hook_that_was_on_its_way_while_amocrm_answered_takes_no_win_back():
    answer = event(events.API, updated_at=at(3))
    late = event(status_id=str(OPEN))
    deal = fold((5, late), (10, answer), (15, event()))
    win = deal.win()
    assert win is not None
    assert (win.number, win.at, deal.past_wins) == (1, moment(3), {})
    # What came after the answer is news: reopened, and won again.
    again = fold((4, answer), (5, late), (15, event())).win()
    assert again is not None
    assert again.number == 2


@pytest.mark.parametrize("truth", [event(events.API, updated_at=at(1)), event(updated_at=at(1))])
def test_untimed_hooks_that_came_in_the_wrong_order_make_one_win(truth: events.DealEvent):
    deal = fold((5, event()), (6, event(status_id=str(OPEN))), (10, truth))
    win = deal.win()
    assert win is not None
    assert (win.number, deal.past_wins) == (1, {})


def test_a_delete_retried_after_a_restore_is_repaired_by_the_api():
    deal = fold(
        (1, event(updated_at=at(0))), (5, event("restore", last_modified=at(0))), (9, event("delete")),
        (12, event(events.API, updated_at=at(0), is_deleted=False)),
    )  # fmt: skip
    assert not deal.is_deleted


def test_a_crm_time_from_the_future_is_no_time():
    deal = fold((1, event(updated_at=at(10 * 86400), status_id=str(LOST))), (2, event(updated_at=at(1))))
    assert deal.status_id == WON
