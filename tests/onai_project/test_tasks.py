from __future__ import annotations

from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from axes.models import AccessLog
from django.contrib.sessions.models import Session
from django.db import connection
from django.utils import timezone
from procrastinate.contrib.django import app

from onai_project import tasks

pytestmark = pytest.mark.django_db


def job_of_a_worker_last_seen(ago: str) -> int:
    job = app.configure_task("some.task").defer()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - %s::interval) RETURNING id", [ago]
        )
        worker = cursor.fetchone()[0]
        cursor.execute("UPDATE procrastinate_jobs SET status = 'doing', worker_id = %s WHERE id = %s", [worker, job])
    return job


def status(job: int) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT status FROM procrastinate_jobs WHERE id = %s", [job])
        return str(cursor.fetchone()[0])


def test_it_fails_the_jobs_of_dead_workers_only():
    dead, alive = job_of_a_worker_last_seen("1 hour"), job_of_a_worker_last_seen("1 second")
    async_to_sync(tasks.end_stalled_jobs.func)(0)
    assert (status(dead), status(alive)) == ("failed", "doing")


def test_it_deletes_expired_sessions_and_old_logins_only():
    now = timezone.now()
    for days in (-1, 1):
        Session.objects.create(session_key=f"s{days}", expire_date=now + timedelta(days=days))
    for days in (1, tasks.LOGIN_LOG_DAYS + 1):
        log = AccessLog.objects.create(username=f"after {days}", ip_address="127.0.0.1")
        AccessLog.objects.filter(pk=log.pk).update(attempt_time=now - timedelta(days=days))
    tasks.delete_expired(0)
    assert [session.session_key for session in Session.objects.all()] == ["s1"]
    assert [log.username for log in AccessLog.objects.all()] == ["after 1"]
