"""AmoCRM's side of the hook: what it should be, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from django.conf import settings
from django.db.models.functions import Now

from webhooks import registry
from webhooks.amocrm.api import Api, Item, configured
from webhooks.models import ApiState
from webhooks.reasons import HOOK_DISABLED, HOOK_FOREIGN, HOOK_LACKS, NO_HOOK, because

# What README says to tick by hand.
EVENTS = ("status_lead", "add_lead", "delete_lead", "restore_lead")
PATH = "/webhook/amocrm"
# How often the clock looks: AmoCRM gives up on an event after an hour and a half.
EVERY = timedelta(minutes=15)


def check_hook() -> str | None:
    """Look whether the hook is as it should be, if the last look is old enough; return what is wrong.

    None where nobody looked: it is too early, the API is not configured, or AmoCRM cannot reach this site anyway.
    Raises ApiError where AmoCRM does not answer; what was written stays then.
    """
    reachable = settings.SITE_URL.startswith("https://") and settings.AMOCRM_WEBHOOK_SECRETS
    if not configured() or not reachable or not _is_due():
        return None
    with Api() as api:
        return problem(look(api))


def look(api: Api) -> list[Item]:
    """Return the hooks to this site as AmoCRM has them now; what is wrong with them is written down for the alarm."""
    ours = select_ours(api.webhooks())
    found = {"hook_problem": problem(ours), "hook_checked_at": Now()}
    ApiState.objects.update_or_create(pk=ApiState.ONLY, defaults=found)
    return ours


def problem(hooks: Sequence[Item]) -> str:
    """Return what is wrong with the hooks to this site together, as a stored reason; "" when all events come."""
    if not hooks:
        return because(NO_HOOK)
    working = [hook for hook in hooks if not hook.get("disabled") and _is_addressed(hook)]
    missing = [event for event in EVENTS if not any(event in (hook.get("settings") or ()) for hook in working)]
    if working and missing:
        return because(HOOK_LACKS, ", ".join(missing))
    return problems(hooks[0])[0] if missing else ""


def problems(hook: Item) -> list[str]:
    """Return what is wrong with one hook to this site."""
    missing = [event for event in EVENTS if event not in (hook.get("settings") or ())]
    found = []
    if hook.get("disabled"):
        found.append(because(HOOK_DISABLED))
    if not _is_addressed(hook):
        found.append(because(HOOK_FOREIGN))
    if missing:
        found.append(because(HOOK_LACKS, ", ".join(missing)))
    return found


def select_ours(hooks: Sequence[Item]) -> list[Item]:
    """Return the hooks that lead to this site, whatever is wrong with them."""
    return [hook for hook in hooks if str(hook.get("destination")).startswith(settings.SITE_URL + "/")]


def leads_to_a_door(hook: Item) -> bool:
    """Return whether a hook leads to one of this site's doors."""
    return str(hook.get("destination")).startswith(settings.SITE_URL + PATH)


def destination(secret: str) -> str:
    """Return the address that a hook should have."""
    return f"{settings.SITE_URL}{PATH}?key={secret}"


def shown(hook: Item) -> str:
    """Return a hook's address without its secret."""
    return str(hook.get("destination")).partition("?")[0]


def query_of(hook: Item) -> str:
    """Return what follows a hook's address: the secret, as `key=…`."""
    return str(hook.get("destination")).partition("?")[2]


def _is_addressed(hook: Item) -> bool:
    """Return whether the hook leads to a door, any of them, with a secret that opens it."""
    doors = {f"{settings.SITE_URL}{endpoint.path}" for endpoint in registry.endpoints()}
    return shown(hook) in doors and query_of(hook) in {f"key={secret}" for secret in settings.AMOCRM_WEBHOOK_SECRETS}


def _is_due() -> bool:
    return not ApiState.objects.filter(hook_checked_at__gt=Now() - EVERY).exists()
