"""What the webhooks' clock does. Each tick looks for what is due, so a missed tick costs nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import structlog
from django.conf import settings
from procrastinate.contrib.django import app

from webhooks import questions, reconciliation
from webhooks.amocrm import api, hook
from webhooks.forgetting import forget_contact
from webhooks.retention import drop_bodies

log = structlog.get_logger("webhooks")


@app.periodic(cron="*/10 * * * *")
@app.task
def drop_old_bodies(timestamp: int) -> None:
    """Drop the bodies of deliveries older than WEBHOOK_BODY_DAYS (0: never)."""
    if not settings.WEBHOOK_BODY_DAYS:
        return
    dropped = sum(drop_bodies(datetime.now(UTC) - timedelta(days=settings.WEBHOOK_BODY_DAYS)))
    if dropped:
        log.info("Webhook: old bodies dropped", deliveries=dropped)


@app.periodic(cron="*/10 * * * *")
@app.task
def ask_for_what_is_lacking(timestamp: int) -> None:
    """Have the API asked about wins without a date and about doubts from before it was configured."""
    if not api.configured():
        return
    if count := questions.catch_up():
        log.info("AmoCRM API: to be asked about", deals=count)


@app.periodic(cron="*/5 * * * *")
@app.task
def reconcile(timestamp: int) -> None:
    """Compare the deals with AmoCRM's record where the last comparison is old enough."""
    reconciliation.reconcile_due()


@app.periodic(cron="*/5 * * * *")
@app.task
def check_hook(timestamp: int) -> None:
    """Look in AmoCRM whether the hook is as it should be, where the last look is old enough."""
    try:
        if problem := hook.check_hook():
            log.warning("AmoCRM API: the hook is not as it should be", problem=problem)
    except api.ApiError as error:
        log.warning("AmoCRM API: the hook could not be looked at", error=str(error))


@app.task
def forget(contact_id: int) -> None:
    """Remove a person from everything that is stored; it may take minutes, so no page waits for it."""
    forget_contact(contact_id=contact_id)
