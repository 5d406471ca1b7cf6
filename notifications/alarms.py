"""Alarms: checks that apps register, and what is told of them, once when something starts and once when it ends.

A check is a function without arguments that returns "" when all is well, else a sentence: what is wrong and what to do.

    @alarms.register("dead", _("Dead deliveries"))
    def dead() -> str: …

It is called every minute, for the page "System state" and by `check_health`; it must not ask the network and must not
scan a large table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Now
from django.utils import translation
from django.utils.functional import Promise
from django.utils.translation import gettext as _

from notifications.models import Alarm, AlarmMessage, TelegramChat

log = structlog.get_logger(__name__)

# "onai" in bytes and a number, like the sender's: two workers' clocks tick in the same second.
LOCK = 0x6F6E6169_0000000A


@dataclass(frozen=True, slots=True)
class Check:
    """A check with its name, unique and stable, and its title for people.

    `told`: its alarms go to Telegram; `anew`: also when the problem is another one than before.
    """

    name: str
    title: str | Promise
    problem: Callable[[], str]
    told: bool = True
    anew: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: `problem` is "" when all is well."""

    check: Check
    problem: str


_checks: dict[str, Check] = {}


def register(
    name: str, title: str | Promise, *, told: bool = True, anew: bool = False
) -> Callable[[Callable[[], str]], Callable[[], str]]:
    """Add the decorated function to the checks. Raises ValueError for a name that another function has.

    Not `told`: the page and `check_health` have it, and something else tells the administrators. `anew`: what the check
    says counts something that must not hide behind what was told before, so each change of it is an alarm of its own.
    """

    def decorate(problem: Callable[[], str]) -> Callable[[], str]:
        if name in _checks and _checks[name].problem is not problem:
            raise ValueError(f"there is an alarm {name!r} already")
        _checks[name] = Check(name, title, problem, told, anew)
        return problem

    return decorate


def title(name: str) -> str:
    """Return the title of a check; its name where the check is gone."""
    return str(_checks[name].title) if name in _checks else name


def look() -> list[Finding]:
    """Run every check. One that fails is a finding of its own and stops no other."""
    findings = []
    for check in _checks.values():
        try:
            with transaction.atomic():
                problem = check.problem()
        except Exception as error:
            log.exception("a check failed", check=check.name)
            problem = _("The check itself failed: %(error)s") % {"error": f"{type(error).__name__}: {error}"[:300]}
        findings.append(Finding(check, problem))
    return findings


def look_and_tell() -> list[Finding]:
    """Run the checks; write what started and what ended, with a message of each to every administrators' chat."""
    with translation.override(settings.LANGUAGE_CODE), transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        findings = look()
        wrong = {finding.check.name: finding.problem for finding in findings if finding.problem}
        standing = {alarm.name: alarm for alarm in Alarm.objects.filter(ended_at=None)}
        changed = set()
        for name, alarm in standing.items():
            if name not in wrong:
                Alarm.objects.filter(pk=alarm.pk).update(ended_at=Now())
                _tell(alarm, AlarmMessage.Kind.ENDED)
            elif alarm.text == wrong[name]:
                continue
            elif name in _checks and _checks[name].anew:
                Alarm.objects.filter(pk=alarm.pk).update(ended_at=Now())
                changed.add(name)
            else:
                Alarm.objects.filter(pk=alarm.pk).update(text=wrong[name])
        for name in (wrong.keys() - standing.keys()) | changed:
            _tell(Alarm.objects.create(name=name, text=wrong[name]), AlarmMessage.Kind.STARTED)
            log.error("alarm", alarm=name, text=wrong[name])
    return findings


def _tell(alarm: Alarm, kind: AlarmMessage.Kind) -> None:
    if alarm.name in _checks and not _checks[alarm.name].told:
        return
    for chat in TelegramChat.objects.filter(kind=TelegramChat.Kind.ADMIN, active=True).order_by("pk"):
        AlarmMessage.objects.create(alarm=alarm, chat=chat, kind=kind)
