"""Housekeeping: what would otherwise pile up. Each tick looks for what is due, so a missed tick costs nothing."""

from __future__ import annotations

from axes.handlers.proxy import AxesProxyHandler
from django.core.management import call_command
from procrastinate import jobs
from procrastinate.contrib.django import app

# Logins are looked into for weeks, not for years.
LOGIN_LOG_DAYS = 90
# Failed jobs stay this long for a person to look at.
ENDED_JOB_HOURS = 30 * 24


@app.periodic(cron="*/10 * * * *")
@app.task
async def end_stalled_jobs(timestamp: int) -> None:
    """Fail the jobs whose worker died, so that they are seen and nothing waits for them; forget old ended ones."""
    for job in await app.job_manager.get_stalled_jobs():
        await app.job_manager.finish_job(job, status=jobs.Status.FAILED, delete_job=False)
    await app.job_manager.delete_old_jobs(
        nb_hours=ENDED_JOB_HOURS, include_failed=True, include_cancelled=True, include_aborted=True
    )


@app.periodic(cron="*/10 * * * *")
@app.task
def delete_expired(timestamp: int) -> None:
    """Delete expired sessions and old login records."""
    call_command("clearsessions")
    AxesProxyHandler.reset_logs(age_days=LOGIN_LOG_DAYS)
