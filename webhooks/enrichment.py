"""The worker's loop that asks AmoCRM what its hooks left out: close dates, empty fields, contacts, doubts.

An answer goes the way of every delivery: it is stored as source `amocrm_api`, and the inbox joins it into the deals.
Any number of workers may run the loop; they ask one after the other (webhooks/amocrm/api.py).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from datetime import datetime

import structlog
from django.db import connection
from django.db.models.functions import Now

from webhooks import contacts, questions
from webhooks.amocrm.api import MOST_IDS, Api, Item, Refused, Trouble, Unavailable, configured, paused_seconds
from webhooks.models import ApiQuestion, Source, WebhookDelivery
from webhooks.reasons import NOT_IN_AMOCRM, RECEIVER_FAILED

log = structlog.get_logger("webhooks")

# How long an idle loop sleeps: a sale may wait for the answer.
IDLE_SECONDS = 0.5
# How long it sleeps at most while nobody may ask: somebody may end the pause by hand.
LONGEST_PAUSE = 5.0
# A new deal may be in a hook before it is in the API.
MISSING_AFTER = 3

Kind = ApiQuestion.Kind


def run(stop: threading.Event) -> None:
    """Ask about whatever is due until `stop` is set. A lost database is raised: the worker begins again."""
    if not configured():
        log.info("AmoCRM API: not asked, for AMOCRM_ACCESS_TOKEN is not set")
        stop.wait()
        return
    with Api(stop=stop) as api:
        while not stop.is_set():
            if pause := paused_seconds():
                stop.wait(min(pause, LONGEST_PAUSE))
            elif not ask_due(api):
                stop.wait(IDLE_SECONDS)


def ask_due(api: Api) -> int:
    """Ask about the deals, then the contacts, that are due, a request each; return how many there were."""
    count = 0
    for kind in (Kind.DEAL, Kind.CONTACT):
        claim = questions.claim(kind, MOST_IDS)
        if not claim.ids:
            continue
        count += len(claim.ids)
        try:
            missing = _ask_for_deals(api, claim.ids) if kind == Kind.DEAL else _ask_for_contacts(api, claim.ids)
        except Unavailable as error:
            if error.trouble == Trouble.AWAY:
                # It may be the fault of what was asked.
                questions.note(kind, claim.ids, str(error))
            else:
                questions.give_back(kind, claim.ids, str(error))
            return count
        except Refused as error:
            log.warning("AmoCRM API: refused", kind=str(kind), count=len(claim.ids), error=str(error))
            questions.note(kind, claim.ids, str(error))
            continue
        if claim.attempt >= MISSING_AFTER:
            questions.settle(kind, missing, NOT_IN_AMOCRM)
    return count


def store_answer(
    leads: Sequence[Item],
    events: Sequence[Item] = (),
    *,
    quiet: bool = False,
    asked_at: datetime | None = None,
) -> int:
    """Store these deals, and events of AmoCRM's own record, as an answer of the API, for the inbox; return its id.

    An answer is as old as its question (`asked_at`): what arrived while it was on its way is news to it.
    """
    return WebhookDelivery.objects.create(
        source=Source.API,
        received_at=Now() if asked_at is None else asked_at,
        body=answer_body(leads, events),
        content_type="application/json",
        quiet=quiet,
    ).pk


def answer_body(leads: Sequence[Item], events: Sequence[Item] = ()) -> bytes:
    """Return what is stored of an answer: JSON in AmoCRM's shape."""
    embedded = {"leads": list(leads)} | ({"events": list(events)} if events else {})
    return json.dumps({"_embedded": embedded}, ensure_ascii=False).encode()


def database_now() -> datetime:
    """Return the moment by the clock that dates deliveries."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        moment: datetime = cursor.fetchone()[0]
        return moment


def fetch(api: Api, ids: Sequence[int]) -> tuple[list[Item], datetime]:
    """Return what AmoCRM says of these deals (at most MOST_IDS), and when it was asked.

    Deleted ones are included while they can be restored.
    """
    leads = api.leads(ids)
    asked_at = api.asked_at
    missing = sorted(set(ids) - _ids(leads))
    return contacts.without_forgotten(leads) + (api.leads(missing, deleted=True) if missing else []), asked_at


def _ask_for_deals(api: Api, ids: list[int]) -> list[int]:
    leads, asked_at = fetch(api, ids)
    if leads:
        store_answer(leads, asked_at=asked_at)
    return sorted(set(ids) - _ids(leads))


def _ask_for_contacts(api: Api, ids: list[int]) -> list[int]:
    people = api.contacts(ids)
    failed = contacts.save(people)
    for contact_id, error in failed.items():
        log.error("AmoCRM API: an app could not take a contact's deals", contact=contact_id, error=error)
        questions.note(Kind.CONTACT, [contact_id], RECEIVER_FAILED)
    found = _ids(people)
    questions.settle(Kind.CONTACT, sorted(found - failed.keys()))
    return sorted(set(ids) - found)


def _ids(items: Sequence[Item]) -> set[int]:
    return {item["id"] for item in items if isinstance(item.get("id"), int)}
