from __future__ import annotations

import io
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import OperationalError
from procrastinate.contrib.django.models import ProcrastinateJob

from onai_project.periods import Period
from tests.onai_project.rows import make_sale, make_user
from traffic.closing import first_open_day
from traffic.models import (
    AttributionRule,
    ReattributionRun,
    Sale,
    SaleAttribution,
    SalesNotification,
    Targetologist,
)
from traffic.overrides import override_sales
from traffic.reattribution import runs, tasks
from traffic.reattribution.plan import balance, plan_reattribution
from traffic.reattribution.runs import carry_on, start_run, start_undo
from traffic.rules.book import current_rulebook

pytestmark = pytest.mark.django_db

DECEMBER = Period(date(2025, 12, 1), date(2025, 12, 31))
NOON = datetime(2025, 12, 20, 7, tzinfo=UTC)
NOVEMBER = datetime(2025, 11, 20, 7, tzinfo=UTC)


def sale(lead_id: int, campaign: str, slug: str | None = None, when: datetime = NOON, **fields: Any) -> Sale:
    person = Targetologist.objects.get(slug=slug) if slug else None
    return make_sale(lead_id, when=when, targetologist=person, utm_campaign=campaign, **fields)


def run_all(period: Period = DECEMBER) -> ReattributionRun:
    run = start_run(period=period, book=current_rulebook(), author=None, reason="новое правило")
    list(carry_on(run.pk))
    run.refresh_from_db()
    return run


def undo(run: ReattributionRun) -> ReattributionRun:
    assert start_undo(run=run, author=None)
    list(carry_on(run.pk))
    run.refresh_from_db()
    return run


def owners() -> dict[int, str | None]:
    return dict(Sale.objects.values_list("lead_id", "targetologist_id"))


def deferred_runs() -> list[int]:
    """Return the runs that jobs in the worker's queue are to carry on."""
    jobs = ProcrastinateJob.objects.filter(task_name="traffic.reattribution.tasks.carry_on_run").order_by("pk")
    return [args["run_id"] for args in jobs.values_list("args", flat=True)]


def everything() -> list[tuple[Any, ...]]:
    names = (
        "lead_id", "channel", "targetologist_id", "matched_rule_id", "matched_field", "matched_text", "funnel_type",
    )  # fmt: skip
    return list(Sale.objects.order_by("lead_id").values_list(*names))


def command(*arguments: str) -> str:
    out = io.StringIO()
    call_command("reattribute_sales", *arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def test_the_preview_says_who_loses_how_much_to_whom_and_changes_nothing():
    sale(1, "kenji_1", "arystan")
    sale(2, "kenji_2", "arystan", sale_amount=Decimal(50_000))
    sale(3, "kenji_3", sale_amount=None)
    sale(4, "arystan", "arystan")
    before = everything()
    plan = plan_reattribution(DECEMBER, current_rulebook())
    assert [(m.before, m.after, m.totals.sales, m.totals.revenue) for m in plan.moves] == [
        ("arystan", "kenesary", 2, Decimal(150_000)),
        ("unknown", "kenesary", 1, None),
    ]
    assert (plan.looked_at, plan.why_only) == (4, 1)
    assert [(key, gets.sales, loses.sales) for key, gets, loses in balance(plan.moves)] == [
        ("kenesary", 3, 0), ("unknown", 0, 1), ("arystan", 0, 2),
    ]  # fmt: skip
    assert everything() == before
    assert not SaleAttribution.objects.exists()


def test_a_run_moves_what_the_preview_said_and_writes_it_down():
    sale(1, "kenji_1", "arystan")
    sale(2, "kenji_2", when=NOVEMBER)
    run = run_all()
    assert owners() == {1: "kenesary", 2: None}
    assert (run.state, run.total, run.looked_at, run.moved) == ("done", 1, 1, 1)
    move = run.moves.get()
    assert (move.before[1], move.after[1], move.sale_amount, move.won) == ("arystan", "kenesary", 100_000, True)
    assert run_all().moved == 0


def test_nobody_is_told():
    sale(1, "kenji_1")
    undo(run_all())
    assert not SalesNotification.objects.exists()


def test_a_sale_taken_back_moves_without_money():
    sale(1, "kenji_1", "arystan", state="reversed")
    plan = plan_reattribution(DECEMBER, current_rulebook())
    assert (plan.moves, plan.taken_back) == ([], 1)
    run_all()
    assert owners() == {1: "kenesary"}


def test_a_persons_word_stays_and_is_counted():
    sale(1, "kenji_1", "arystan")
    muha = Targetologist.objects.get(slug="muha")
    override_sales(
        lead_ids=[1], action="assign", targetologist=muha, reason="x", author=make_user("boss", superuser=True)
    )
    plan = plan_reattribution(DECEMBER, current_rulebook())
    assert (plan.looked_at, plan.by_hand) == (0, 1)
    assert run_all().moved == 0
    assert owners() == {1: "muha"}


def test_closed_months_stay_and_are_counted(settings):
    settings.TRAFFIC_CLOSED_UNTIL = "2025-11"
    sale(1, "kenji_1", "arystan", when=datetime(2025, 11, 30, 18, 59, 59, tzinfo=UTC))  # 23:59:59 in Almaty
    sale(2, "kenji_2", "arystan", when=datetime(2025, 11, 30, 19, tzinfo=UTC))
    autumn = Period(date(2025, 10, 1), date(2025, 12, 31))
    plan = plan_reattribution(autumn, current_rulebook())
    assert (plan.looked_at, plan.closed) == (1, 1)
    run_all(autumn)
    assert owners() == {1: "arystan", 2: "kenesary"}


def test_a_month_closed_since_is_not_undone(settings):
    sale(1, "kenji_1", "arystan")
    run = run_all()
    settings.TRAFFIC_CLOSED_UNTIL = "2025-12"
    undo(run)
    assert owners() == {1: "kenesary"}
    assert run.moves.get().undone is False


@pytest.mark.parametrize(
    ("closed", "first"), [("", None), ("2025-11", date(2025, 12, 1)), ("2025-12", date(2026, 1, 1))]
)
def test_the_first_open_day(settings, closed: str, first: date | None):
    settings.TRAFFIC_CLOSED_UNTIL = closed
    assert first_open_day() == first


@pytest.mark.parametrize("closed", ["2025", "2025-13", "November"])
def test_a_setting_that_names_no_month_is_refused(settings, closed: str):
    settings.TRAFFIC_CLOSED_UNTIL = closed
    with pytest.raises(ImproperlyConfigured, match="a month such as 2025-11"):
        first_open_day()


def test_undone_everything_is_as_before_even_why():
    sale(1, "kenji_1", "arystan", matched_field="utm_campaign", matched_text="old", funnel_type="intensive1d")
    sale(2, "kenji_2")
    before = everything()
    run = undo(run_all())
    assert everything() == before
    assert (run.state, list(run.moves.values_list("undone", flat=True))) == ("undone", [True, True])
    assert not start_undo(run=run, author=None)


def test_runs_are_undone_one_after_the_other():
    sale(1, "on_kenji", "arystan")
    before = everything()
    first = run_all()
    AttributionRule.objects.create(order=0, targetologist_id="muha", pattern="on_")
    second = run_all()
    assert owners() == {1: "muha"}
    undo(second)
    assert owners() == {1: "kenesary"}
    undo(first)
    assert everything() == before


def test_what_was_decided_since_is_not_undone():
    sale(1, "kenji_1", "arystan")
    first = run_all()
    AttributionRule.objects.create(order=0, targetologist_id="muha", pattern="kenji_1")
    run_all()
    undo(first)
    assert owners() == {1: "muha"}
    assert first.moves.get().undone is False


def test_a_persons_word_of_since_stands_over_the_undoing():
    sale(1, "kenji_1", "arystan")
    run = run_all()
    author = make_user("boss", superuser=True)
    override_sales(
        lead_ids=[1], action="assign", targetologist=Targetologist.objects.get(slug="muha"), reason="x", author=author
    )
    undo(run)
    assert owners() == {1: "muha"}
    override_sales(lead_ids=[1], action="release", targetologist=None, reason="x", author=author)
    assert owners() == {1: "arystan"}


def test_a_run_that_was_stopped_is_carried_on(monkeypatch):
    monkeypatch.setattr(runs, "BATCH", 2)
    for lead_id in range(1, 6):
        sale(lead_id, "kenji")
    run = start_run(period=DECEMBER, book=current_rulebook(), author=None, reason="")
    next(carry_on(run.pk))
    run.refresh_from_db()
    assert (run.state, run.looked_at, run.last_lead_id) == ("running", 2, 2)
    tasks.carry_on_lost_runs(0)
    assert deferred_runs() == []  # it was active a moment ago
    ReattributionRun.objects.update(active_at=NOON)
    tasks.carry_on_lost_runs(0)
    assert deferred_runs() == [run.pk]
    tasks.carry_on_run(run.pk)
    run.refresh_from_db()
    assert (run.state, run.moved, set(owners().values())) == ("done", 5, {"kenesary"})


def breaks(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*args: Any) -> int:
        raise error

    monkeypatch.setattr(runs, "write_outcomes", fail)


def worker_tries(run: ReattributionRun, error: type[Exception] = ValueError) -> None:
    with pytest.raises(error):
        tasks.carry_on_run(run.pk)
    ReattributionRun.objects.update(active_at=NOON)
    run.refresh_from_db()


def test_a_run_that_fails_at_a_batch_is_stopped_with_the_reason_and_begun_no_more(monkeypatch):
    sale(1, "kenji")
    run = start_run(period=DECEMBER, book=current_rulebook(), author=None, reason="")
    with monkeypatch.context() as broken:
        breaks(broken, ValueError("a bad sale"))
        for _ in range(runs.MOST_FAILURES):
            assert run.state == "waiting"
            worker_tries(run)
    assert (run.state, run.error) == ("failed", "ValueError: a bad sale")
    tasks.carry_on_lost_runs(0)
    assert deferred_runs() == []
    assert "1 of 1 sales changed" in command("--go-on", str(run.pk))
    run.refresh_from_db()
    assert (run.state, run.failures, run.error) == ("done", 0, "")


def test_an_undoing_that_fails_is_stopped_too_and_stays_an_undoing(monkeypatch):
    sale(1, "kenji", "arystan")
    run = run_all()
    assert start_undo(run=run, author=None)
    with monkeypatch.context() as broken:
        breaks(broken, ValueError("x"))
        for _ in range(runs.MOST_FAILURES):
            worker_tries(run)
    assert run.state == "undo_failed"
    assert not start_undo(run=run, author=None)
    runs.go_on(run=run)
    tasks.carry_on_run(run.pk)
    run.refresh_from_db()
    assert (run.state, owners()) == ("undone", {1: "arystan"})


def test_what_a_run_did_before_it_failed_can_be_undone(monkeypatch):
    monkeypatch.setattr(runs, "BATCH", 1)
    sale(1, "kenji", "arystan")
    sale(2, "kenji", "arystan")
    run = start_run(period=DECEMBER, book=current_rulebook(), author=None, reason="")
    next(carry_on(run.pk))
    with monkeypatch.context() as broken:
        breaks(broken, ValueError("x"))
        for _ in range(runs.MOST_FAILURES):
            worker_tries(run)
    assert owners() == {1: "kenesary", 2: "arystan"}
    assert (undo(run).state, owners()) == ("undone", {1: "arystan", 2: "arystan"})


def test_a_database_that_was_away_is_no_failure_of_the_run(monkeypatch):
    sale(1, "kenji")
    run = start_run(period=DECEMBER, book=current_rulebook(), author=None, reason="")
    breaks(monkeypatch, OperationalError("gone"))
    for _ in range(runs.MOST_FAILURES):
        worker_tries(run, OperationalError)
    assert (run.state, run.failures) == ("waiting", 0)


def test_a_batch_that_is_done_forgets_the_failures_before(monkeypatch):
    monkeypatch.setattr(runs, "BATCH", 1)
    sale(1, "kenji")
    run = start_run(period=DECEMBER, book=current_rulebook(), author=None, reason="")
    with monkeypatch.context() as broken:
        breaks(broken, ValueError("x"))
        worker_tries(run)
    assert run.failures == 1
    next(carry_on(run.pk))
    run.refresh_from_db()
    assert (run.failures, run.error) == (0, "")


def test_the_command_shows_how_far_it_is(monkeypatch):
    monkeypatch.setattr(runs, "BATCH", 2)
    for lead_id in range(1, 6):
        sale(lead_id, "kenji")
    shown = io.StringIO()
    call_command(
        "reattribute_sales", "--since", "2025-12-01", "--until", "2025-12-31", "--yes",
        stdout=io.StringIO(), stderr=shown,
    )  # fmt: skip
    steps = re.findall(r"(\d+/\d+) .*up to #(\d+)", shown.getvalue().replace("\r", "\n"))
    assert steps == [("2/5", "2"), ("4/5", "4"), ("5/5", "5")]


def test_a_run_that_is_carried_on_shows_what_was_done_before(monkeypatch):
    monkeypatch.setattr(runs, "BATCH", 2)
    for lead_id in range(1, 5):
        sale(lead_id, "kenji")
    run = start_run(period=DECEMBER, book=current_rulebook(), author=None, reason="")
    next(carry_on(run.pk))
    shown = io.StringIO()
    call_command("reattribute_sales", "--go-on", str(run.pk), stdout=io.StringIO(), stderr=shown)
    assert "4/4" in shown.getvalue()
    assert "2/4" not in shown.getvalue()


def test_a_long_run_lets_other_jobs_in_between(monkeypatch):
    monkeypatch.setattr(runs, "BATCH", 2)
    monkeypatch.setattr(tasks, "TURN_SECONDS", 0.0)
    for lead_id in range(1, 4):
        sale(lead_id, "kenji")
    run = start_run(period=DECEMBER, book=current_rulebook(), author=None, reason="")
    for done in (2, 3):
        tasks.carry_on_run(run.pk)
        run.refresh_from_db()
        assert (run.state, run.looked_at) == ("running", done)
    assert deferred_runs() == [run.pk, run.pk]
    tasks.carry_on_run(run.pk)
    run.refresh_from_db()
    assert run.state == "done"
    assert deferred_runs() == [run.pk, run.pk]


def test_the_rules_are_those_of_the_preview():
    sale(1, "kenji_1", "arystan")
    run = start_run(period=DECEMBER, book=current_rulebook(), author=None, reason="")
    AttributionRule.objects.all().delete()
    list(carry_on(run.pk))
    assert owners() == {1: "kenesary"}
    assert Sale.objects.get().matched_rule is None


def test_the_command_shows_asks_does_and_undoes(monkeypatch):
    sale(1, "kenji_1", "arystan")
    december = ("--since", "2025-12-01", "--until", "2025-12-31")
    shown = command(*december, "--dry-run")
    assert "Arystan 🦁 → Kenesary 👑: 1 sales, 100\u2009000\u2009₸" in shown
    monkeypatch.setattr("builtins.input", lambda question: "n")
    with pytest.raises(CommandError, match="nothing was changed"):
        command(*december)
    assert owners() == {1: "arystan"}
    monkeypatch.setattr("builtins.input", lambda question: "y")
    make_user("boss", superuser=True)
    assert "1 of 1 sales changed" in command(*december, "--author", "boss", "--reason", "новое правило")
    run = ReattributionRun.objects.get()
    assert (owners(), str(run.author), run.reason) == ({1: "kenesary"}, "boss", "новое правило")
    assert "is undone" in command("--undo", str(run.pk))
    assert owners() == {1: "arystan"}
    with pytest.raises(CommandError, match="only one that is done"):
        command("--undo", str(run.pk))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "--since"),
        (("--since", "gestern"), "is not a date"),
        (("--since", "2025-12-02", "--until", "2025-12-01"), "is before"),
        (("--undo", "7"), "there is no run 7"),
        (("--since", "2025-12-01", "--author", "nobody"), "there is no user"),
    ],
)
def test_the_command_says_what_is_wrong(arguments: tuple[str, ...], complaint: str):
    with pytest.raises(CommandError, match=complaint):
        command(*arguments)
