from __future__ import annotations

from datetime import date

import pytest

from onai_project.periods import Period, preset_period, previous_period

NOW = date(2025, 12, 20)


def test_the_last_seven_days_stand_beside_the_seven_before():
    assert previous_period(preset_period("7days", NOW), NOW) == Period(date(2025, 12, 7), date(2025, 12, 13))


def test_a_running_month_stands_beside_the_same_days_of_the_last():
    assert previous_period(preset_period("month", NOW), NOW) == Period(date(2025, 11, 1), date(2025, 11, 20))


@pytest.mark.parametrize(("now", "last"), [(date(2025, 3, 31), 28), (date(2024, 3, 30), 29), (date(2025, 3, 5), 5)])
def test_a_shorter_month_before_ends_at_its_own_end(now, last):
    assert previous_period(preset_period("month", now), now).last == now.replace(month=2, day=last)


def test_a_whole_month_stands_beside_the_whole_month_before():
    period = preset_period("last_month", date(2025, 3, 10))
    assert previous_period(period, date(2025, 3, 10)) == Period(date(2025, 1, 1), date(2025, 1, 31))


def test_a_range_stands_beside_as_many_days_directly_before():
    typed = Period(date(2025, 12, 5), date(2025, 12, 7))
    assert previous_period(typed, NOW) == Period(date(2025, 12, 2), date(2025, 12, 4))


def test_only_the_elapsed_days_of_a_range_have_a_counterpart():
    typed = Period(date(2025, 12, 11), date(2025, 12, 31))
    assert previous_period(typed, NOW) == Period(date(2025, 11, 20), date(2025, 11, 29))


def test_today_stands_beside_yesterday():
    assert previous_period(preset_period("today", NOW), NOW) == Period(date(2025, 12, 19), date(2025, 12, 19))
