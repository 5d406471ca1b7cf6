"""AmoCRM's side of the hook: look whether it is there, make it, remove it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from webhooks.amocrm import api, hook

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
        ours = hook.look(amocrm)
        for one in ours:
            self.stdout.write(f"{hook.shown(one)}: {'; '.join(hook.problems(one)) or 'as it should be'}")
        if hook.problem(ours):
            raise CommandError(
                "No hook to this site is as it should be. Run: manage.py amocrm_webhooks install"
                if ours
                else "There is no hook to this site. Run: manage.py amocrm_webhooks install"
            )

    def install(self, amocrm: api.Api) -> None:
        """Make the hook with the first secret, or give it its events again; remove those with others, and show it.

        In this order: no event falls between the two. A hook with another secret would tell everything twice, and be
        refused once that secret is gone.
        """
        address = hook.destination(settings.AMOCRM_WEBHOOK_SECRETS[0])
        amocrm.add_webhook(address, hook.EVENTS)
        secret = address.partition("?")[2]
        self._remove(amocrm, [one for one in _to_the_doors(amocrm) if hook.query_of(one) != secret])
        self.status(amocrm)

    def remove(self, amocrm: api.Api) -> None:
        """Remove every hook to this site's door."""
        ours = _to_the_doors(amocrm)
        self._remove(amocrm, ours)
        if not ours:
            self.stdout.write("there was no hook to this site")
        hook.look(amocrm)

    def _remove(self, amocrm: api.Api, hooks: Sequence[api.Item]) -> None:
        for one in hooks:
            amocrm.remove_webhook(str(one["destination"]))
            self.stdout.write(f"removed {hook.shown(one)}")


def _to_the_doors(amocrm: api.Api) -> list[api.Item]:
    return [one for one in amocrm.webhooks() if hook.leads_to_a_door(one)]
