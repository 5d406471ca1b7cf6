"""What the payouts' clock does. It ticks often and asks the table what is due, so a missed tick costs nothing."""

from __future__ import annotations

from datetime import timedelta

import structlog
from django.utils import timezone
from procrastinate.contrib.django import app

from onai_project.periods import day_start, today
from referrals.payouts.checks import ledger_check
from referrals.payouts.models import LedgerCheck

log = structlog.get_logger(__name__)

# Almaty time: when nobody sells.
CHECK_HOUR = timedelta(hours=4)


@app.periodic(cron="*/10 * * * *")
@app.task
def check_ledger_daily(timestamp: int) -> None:
    """Check the ledger once each Almaty day, from four o'clock on."""
    due_since = day_start(today()) + CHECK_HOUR
    if timezone.now() < due_since or LedgerCheck.objects.filter(started_at__gte=due_since).exists():
        return
    check_ledger_now()


@app.task(queueing_lock="check_ledger_now")
def check_ledger_now() -> None:
    """Check the ledger, as a person asked for it; asked twice before it began, it is done once."""
    check = ledger_check()
    log.info("Ledger checked", wrong=check.wrong, seconds=round(check.seconds, 1))
