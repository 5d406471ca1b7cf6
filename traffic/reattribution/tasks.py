"""Re-attributions that people confirmed in the admin: carried out by the worker."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import structlog
from django.db import InterfaceError, OperationalError
from procrastinate.contrib.django import app

from traffic.models import ReattributionRun
from traffic.reattribution.runs import GOING_ON, carry_on, note_failure

log = structlog.get_logger("traffic")

# The worker does one job at a time: digests and alarms wait no longer than this for a run of a million sales.
TURN_SECONDS = 10.0
# A batch takes a second; a run that was silent for so long has lost its worker.
SILENT = timedelta(seconds=60)


@app.task
def carry_on_run(run_id: int) -> None:
    """Carry a run on for a while; what is left is another job, behind those that wait.

    A batch that fails is tried again by `carry_on_lost_runs`, until the run has failed.
    """
    turn_over = time.monotonic() + TURN_SECONDS
    try:
        for _ in carry_on(run_id):
            if time.monotonic() > turn_over:
                carry_on_run.defer(run_id=run_id)
                return
    except (OperationalError, InterfaceError):
        raise  # the database's fault, not the run's
    except Exception as error:
        note_failure(run_id, error)
        raise
    log.info("Re-attribution ended", run=run_id)


@app.periodic(cron="* * * * *")
@app.task
def carry_on_lost_runs(timestamp: int) -> None:
    """Carry on the runs whose worker died, or that none took."""
    lost = ReattributionRun.objects.filter(state__in=GOING_ON, active_at__lt=silent_since())
    for run_id in lost.order_by("pk").values_list("pk", flat=True):
        carry_on_run.defer(run_id=run_id)


def silent_since() -> datetime:
    """Return the moment since which a run that goes on must have done a batch."""
    return datetime.now(UTC) - SILENT
