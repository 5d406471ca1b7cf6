"""AmoCRM's side of the hook: look whether it is there, make it, remove it."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from webhooks.amocrm import api

# What README says to tick by hand.
EVENTS = ("status_lead", "add_lead", "delete_lead", "restore_lead")
PATH = "/webhook/amocrm"
# A person waits: two first delays of an outage.
PATIENCE = 10


class Command(BaseCommand):
    """Do it through the API. The secret is never printed."""

    help = "Show, make or remove AmoCRM's hook to this site. Needs AMOCRM_BASE_URL and AMOCRM_ACCESS_TOKEN."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare what to do."""
        parser.add_argument("action", choices=("status", "install", "remove"))

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it. Raises CommandError where the hook isn't as it should be, or AmoCRM cannot be asked."""
        if not api.configured():
            raise CommandError("Set AMOCRM_ACCESS_TOKEN (README, Settings), or make the hook by hand (README).")
        if not settings.AMOCRM_WEBHOOK_SECRETS:
            raise CommandError("Set AMOCRM_WEBHOOK_SECRETS first: the hook's URL carries the secret.")
        if settings.SITE_URL.startswith("http://"):
            raise CommandError(f"AmoCRM must reach SITE_URL from outside, by https; it is {settings.SITE_URL}.")
        try:
            with api.Api(patience=PATIENCE) as amocrm:
                getattr(self, options["action"])(amocrm)
        except api.ApiError as error:
            raise CommandError(f"AmoCRM did not do it: {error}") from error

    def status(self, amocrm: api.Api) -> None:
        """Print the hooks to this site. Raises CommandError unless one is right."""
        ours = [hook for hook in amocrm.webhooks() if str(hook.get("destination")).startswith(settings.SITE_URL + "/")]
        right = False
        for hook in ours:
            problems = _problems(hook)
            right = right or not problems
            self.stdout.write(f"{_shown(hook)}: {'; '.join(problems) or 'as it should be'}")
        if not right:
            raise CommandError(
                "No hook to this site is as it should be. Run: manage.py amocrm_webhooks install"
                if ours
                else "There is no hook to this site. Run: manage.py amocrm_webhooks install"
            )

    def install(self, amocrm: api.Api) -> None:
        """Make the hook with the first secret, or give it its events again; then show it."""
        amocrm.add_webhook(_destination(settings.AMOCRM_WEBHOOK_SECRETS[0]), EVENTS)
        self.status(amocrm)

    def remove(self, amocrm: api.Api) -> None:
        """Remove every hook to this site's door."""
        ours = [hook for hook in amocrm.webhooks() if str(hook.get("destination")).startswith(settings.SITE_URL + PATH)]
        for hook in ours:
            amocrm.remove_webhook(str(hook["destination"]))
            self.stdout.write(f"removed {_shown(hook)}")
        if not ours:
            self.stdout.write("there was no hook to this site")


def _destination(secret: str) -> str:
    return f"{settings.SITE_URL}{PATH}?key={secret}"


def _shown(hook: dict[str, Any]) -> str:
    return str(hook.get("destination")).partition("?")[0]


def _problems(hook: dict[str, Any]) -> list[str]:
    """Return what is wrong with a hook to this site."""
    destination = str(hook.get("destination"))
    missing = [event for event in EVENTS if event not in (hook.get("settings") or ())]
    problems = []
    if hook.get("disabled"):
        problems.append("AmoCRM disabled it after failures: enable it in AmoCRM, or remove and install it")
    if destination not in {_destination(secret) for secret in settings.AMOCRM_WEBHOOK_SECRETS}:
        problems.append("its address or its secret is not this site's")
    if missing:
        problems.append(f"it lacks {', '.join(missing)}")
    return problems
