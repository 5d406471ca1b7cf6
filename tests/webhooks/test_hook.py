from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from django.utils import timezone

from notifications import alarms
from notifications.models import AlarmMessage, TelegramChat
from tests.amocrm_server import Bad, FakeAmoCrm
from webhooks import tasks
from webhooks.amocrm import hook
from webhooks.models import ApiState, Heartbeat

pytestmark = pytest.mark.django_db
SECRET = "the-first-secret"
OURS = f"https://hooks.example.kz/webhook/amocrm?key={SECRET}"


@pytest.fixture(autouse=True)
def site(settings: Any) -> None:
    settings.SITE_URL = "https://hooks.example.kz"
    settings.AMOCRM_WEBHOOK_SECRETS = [SECRET]


def there_is(crm: FakeAmoCrm, destination: str = OURS, events: tuple[str, ...] = hook.EVENTS, **fields: Any) -> None:
    crm.hooks.append({"destination": destination, "settings": list(events), "disabled": False, **fields})


def look(crm: FakeAmoCrm) -> str:
    """Let the clock look, whenever it looked last; return what it wrote."""
    ApiState.objects.update(hook_checked_at=None, paused_until=None)
    tasks.check_hook(timestamp=0)
    return ApiState.objects.get().hook_problem


def test_a_hook_that_is_right_has_no_problem(crm: FakeAmoCrm):
    there_is(crm, "https://other.example/x")
    there_is(crm, disabled=True)
    there_is(crm)
    assert look(crm) == ""


def test_any_door_will_do_and_two_hooks_may_share_the_events(crm: FakeAmoCrm):
    there_is(crm, OURS.replace("amocrm?", "amocrm/traffic?"), hook.EVENTS[:2])
    assert look(crm) == "it lacks events: delete_lead, restore_lead"
    there_is(crm, OURS.replace("amocrm?", "amocrm/referral?"), hook.EVENTS[2:])
    assert look(crm) == ""


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"destination": "https://old.example.kz/webhook/amocrm?key=x"}, "there is no hook to this site"),
        ({"disabled": True}, "AmoCRM disabled it after failures"),
        ({"destination": OURS + "x"}, "its address or its secret is not this site's"),
        ({"destination": OURS.replace("amocrm?", "amo?")}, "its address or its secret is not this site's"),
        ({"events": ("status_lead",)}, "it lacks events: add_lead, delete_lead, restore_lead"),
    ],
)
def test_what_is_wrong_is_written_down(crm: FakeAmoCrm, fields: dict[str, Any], problem: str):
    there_is(crm, **fields)
    assert look(crm) == problem


def test_it_is_looked_at_every_quarter_of_an_hour(crm: FakeAmoCrm):
    tasks.check_hook(timestamp=0)
    tasks.check_hook(timestamp=0)
    assert len(crm.asked) == 1
    ApiState.objects.update(hook_checked_at=Now() - hook.EVERY)
    tasks.check_hook(timestamp=0)
    assert len(crm.asked) == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [("AMOCRM_ACCESS_TOKEN", ""), ("AMOCRM_WEBHOOK_SECRETS", []), ("SITE_URL", "http://127.0.0.1:8000")],
)
def test_where_no_hook_can_be_nobody_looks(crm: FakeAmoCrm, settings: Any, name: str, value: Any):
    setattr(settings, name, value)
    tasks.check_hook(timestamp=0)
    assert crm.asked == []


def test_the_alarms_of_the_hook_and_of_the_token_are_told_once_each_way(crm: FakeAmoCrm):
    TelegramChat.objects.create(chat_id=-5, kind="admin")
    Heartbeat.objects.create(name="inbox", seen_at=timezone.now() + timedelta(hours=1))
    for state in ("gone", "gone", "right", "token", "token", "right"):
        crm.hooks.clear()
        if state != "gone":
            there_is(crm)
        if state == "token":
            crm.will(Bad(401))
        look(crm)
        alarms.look_and_tell()
    told = list(AlarmMessage.objects.order_by("id").values_list("alarm__name", "kind"))
    assert told == [("hook", "started"), ("hook", "ended"), ("amocrm_api", "started"), ("amocrm_api", "ended")]
    texts = [message.render() for message in AlarmMessage.objects.order_by("id")]
    assert SECRET not in "".join(texts)
