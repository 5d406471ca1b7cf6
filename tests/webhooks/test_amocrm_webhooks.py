from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from tests.amocrm_server import Bad, FakeAmoCrm
from webhooks.amocrm.hook import EVENTS
from webhooks.models import ApiState

pytestmark = pytest.mark.django_db
SECRET = "the-first-secret"
OURS = f"https://hooks.example.kz/webhook/amocrm?key={SECRET}"


@pytest.fixture(autouse=True)
def site(settings: Any) -> None:
    settings.SITE_URL = "https://hooks.example.kz"
    settings.AMOCRM_WEBHOOK_SECRETS = [SECRET, "the-old-one"]


def run(action: str) -> str:
    out = StringIO()
    call_command("amocrm_webhooks", action, stdout=out)
    assert SECRET not in out.getvalue()
    return out.getvalue()


def test_install_makes_the_hook_once_and_status_is_content(crm: FakeAmoCrm):
    for _ in range(2):
        assert run("install") == "https://hooks.example.kz/webhook/amocrm: as it should be\n"
    assert [(hook["destination"], tuple(hook["settings"])) for hook in crm.hooks] == [(OURS, EVENTS)]
    assert "as it should be" in run("status")


def test_status_fails_where_there_is_none_or_only_anothers(crm: FakeAmoCrm):
    crm.hooks = [{"destination": "https://other.example/x", "settings": list(EVENTS), "disabled": False}]
    with pytest.raises(CommandError, match="no hook to this site"):
        run("status")


@pytest.mark.parametrize(
    ("hook", "problem"),
    [
        ({"disabled": True}, "disabled it"),
        ({"settings": ["status_lead", "add_lead"]}, "it lacks events: delete_lead, restore_lead"),
        ({"destination": "https://hooks.example.kz/webhook/amocrm?key=stale"}, "its secret is not"),
        ({"destination": "https://hooks.example.kz/other"}, "its address"),
    ],
)
def test_status_says_what_is_wrong(crm: FakeAmoCrm, hook: dict[str, Any], problem: str):
    crm.hooks = [{"destination": OURS, "settings": list(EVENTS), "disabled": False, **hook}]
    out = StringIO()
    with pytest.raises(CommandError, match="amocrm_webhooks install"):
        call_command("amocrm_webhooks", "status", stdout=out)
    assert problem in out.getvalue()
    assert "stale" not in out.getvalue()


def test_what_a_person_mended_is_known_at_once(crm: FakeAmoCrm):
    with pytest.raises(CommandError):
        run("status")
    assert ApiState.objects.get().hook_problem
    run("install")
    assert ApiState.objects.get().hook_problem == ""
    run("remove")
    assert ApiState.objects.get().hook_problem


def test_the_old_secret_is_right_while_it_is_valid(crm: FakeAmoCrm):
    crm.hooks = [{"destination": OURS.replace(SECRET, "the-old-one"), "settings": list(EVENTS), "disabled": False}]
    assert "as it should be" in run("status")


def test_install_replaces_the_hooks_with_other_secrets_after_the_new_one_stands(crm: FakeAmoCrm):
    old = [OURS.replace(SECRET, other) for other in ("the-old-one", "forgotten")] + ["https://other.example/x"]
    crm.hooks = [{"destination": url, "settings": list(EVENTS), "disabled": False} for url in old]
    said = run("install")
    assert said.count("removed https://hooks.example.kz/webhook/amocrm\n") == 2
    assert said.endswith("as it should be\n")
    assert "forgotten" not in said
    assert {hook["destination"] for hook in crm.hooks} == {OURS, "https://other.example/x"}


def test_remove_takes_ours_and_leaves_others(crm: FakeAmoCrm):
    crm.hooks = [{"destination": url, "settings": [], "disabled": False} for url in (OURS, "https://other.example/x")]
    assert run("remove") == "removed https://hooks.example.kz/webhook/amocrm\n"
    assert [hook["destination"] for hook in crm.hooks] == ["https://other.example/x"]
    assert run("remove") == "there was no hook to this site\n"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("AMOCRM_ACCESS_TOKEN", "", "AMOCRM_ACCESS_TOKEN"),
        ("AMOCRM_WEBHOOK_SECRETS", [], "AMOCRM_WEBHOOK_SECRETS"),
        ("SITE_URL", "http://127.0.0.1:8000", "https"),
    ],
)
def test_what_is_missing_is_said_and_nobody_is_asked(crm: FakeAmoCrm, settings: Any, name: str, value: Any, says: str):
    setattr(settings, name, value)
    with pytest.raises(CommandError, match=says):
        run("install")
    assert crm.asked == []


def test_a_refused_token_is_said(crm: FakeAmoCrm):
    crm.will(Bad(401))
    with pytest.raises(CommandError, match="401"):
        run("status")
