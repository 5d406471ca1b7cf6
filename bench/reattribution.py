"""Re-attribution of a year of sales under a new rule that moves each of them, and its undoing."""

from __future__ import annotations

import time
from datetime import timedelta

from bench import harness
from bench.deals import won_deal
from bench.replay import fill, timed
from onai_project.periods import Period, today
from traffic.models import AttributionRule, Funnel, Sale, Targetologist
from traffic.reattribution.plan import plan_reattribution
from traffic.reattribution.runs import carry_on, start_run, start_undo
from traffic.rules.book import current_rulebook
from traffic.seeds import seed, seed_funnels
from webhooks import inbox

LIMIT_SECONDS = 60
DAYS = 360
# Of campaigns: a dozen targetologists' worth of names, so that rules are really tried.
CAMPAIGNS = 2_000


def reattribution(short: bool) -> None:
    """Seconds of the preview, of moving every sale to somebody else, of undoing that."""
    inbox.collect_less()
    count = 600 if short else 100_000
    seed(Targetologist, AttributionRule)
    seed_funnels(Funnel)
    now = int(time.time())

    def body(lead: int) -> bytes:
        return won_deal(lead, now - lead % DAYS * 86400, f"tripwire_{lead % CAMPAIGNS}")

    started = time.monotonic()
    timed(fill(count, 1, body))
    harness.execute("VACUUM ANALYZE")
    print(f"  {count} sales made in {time.monotonic() - started:.0f} s", flush=True)
    rule = AttributionRule.objects.create(order=0, targetologist_id="muha", pattern="tripwire")
    try:
        _move(count)
    finally:
        rule.delete()


def _move(count: int) -> None:
    period = Period(today() - timedelta(days=DAYS + 1), today())
    book = current_rulebook()
    started = time.monotonic()
    plan = plan_reattribution(period, book)
    print(f"  preview {time.monotonic() - started:8.1f} s", flush=True)
    if plan.changes != count:
        raise RuntimeError(f"{plan.changes} of {count} would move")
    run = start_run(period=period, book=book, author=None, reason="bench")
    for name, owner in (("run", "muha"), ("undo", "kenesary")):
        if name == "undo" and not start_undo(run=run, author=None):
            raise RuntimeError("the run cannot be undone")
        started = time.monotonic()
        longest = before = 0.0
        for _ in carry_on(run.pk):
            elapsed = time.monotonic() - started
            longest, before = max(longest, elapsed - before), elapsed
        took = time.monotonic() - started
        moved = Sale.objects.filter(targetologist=owner).count()
        if moved != count:
            raise RuntimeError(f"{moved} of {count} are {owner}'s after the {name}")
        slow = "" if took <= LIMIT_SECONDS else "  TOO SLOW"
        print(f"  {name:8}{took:8.1f} s [{LIMIT_SECONDS}], a batch {longest:.2f} s at most{slow}", flush=True)
