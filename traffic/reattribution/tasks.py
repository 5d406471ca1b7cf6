"""Re-attributions that people confirmed in the admin: carried out by the worker."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import structlog
from procrastinate.contrib.django import app

from traffic.models import ReattributionRun
from traffic.reattribution.runs import State, carry_on

log = structlog.get_logger("traffic")

# A batch takes a second; a run that was silent for so long has lost its worker.
SILENT = timedelta(seconds=60)


@app.task
def carry_on_run(run_id: int) -> None:
    """Carry a run on to its end."""
    looked_at = sum(count for count, _ in carry_on(run_id))
    log.info("Re-attribution ended", run=run_id, looked_at=looked_at)


@app.periodic(cron="* * * * *")
@app.task
def carry_on_lost_runs(timestamp: int) -> None:
    """Carry on the runs whose worker died, or that none took."""
    lost = ReattributionRun.objects.filter(
        state__in=(State.WAITING, State.RUNNING, State.UNDOING), active_at__lt=datetime.now(UTC) - SILENT
    )
    for run_id in lost.order_by("pk").values_list("pk", flat=True):
        carry_on_run(run_id)
