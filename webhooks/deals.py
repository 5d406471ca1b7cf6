"""The rows of `deals` and `deal_transitions`: locked, read, joined with what is new, written where they changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import orjson
from django.db import connection

from webhooks import bulk, merge
from webhooks.amocrm.events import UTM_NAMES
from webhooks.merge import DealState, Observation, Seen, State
from webhooks.models import Deal, DealTransition

# In the order in which both the SELECT and save() name them; lead_id is the key.
_STATE_FIELDS = (
    "lead_id", "name", "price", "status_id", "pipeline_id", *UTM_NAMES,
    "contact_id", "closed_at", "won_at", "wins", "past_wins", "is_deleted", "needs_check",
)  # fmt: skip
_TRANSITION_FIELDS = (
    "lead_id", "at", "rank", "seen_at", "delivery", "index", "timed", "status_id", "pipeline_id",
)  # fmt: skip
_TRANSITION_KEY = ("lead_id", "at", "timed", "rank", "status_id", "pipeline_id")

_LOCK_MISSING = "INSERT INTO deals (lead_id) SELECT unnest(%s::bigint[]) ON CONFLICT DO NOTHING"
_TIMES = ("closed_at", "won_at")
_SELECT = f"""
SELECT {", ".join(bulk.as_micros(name) if name in _TIMES else name for name in _STATE_FIELDS)}, merge
FROM deals WHERE lead_id = ANY(%s::bigint[]) ORDER BY lead_id
"""  # noqa: S608
_HOLD = "SELECT lead_id FROM deals WHERE lead_id = ANY(%s::bigint[]) ORDER BY lead_id FOR UPDATE"
_SELECT_MERGE = "SELECT lead_id, merge FROM deals WHERE lead_id = ANY(%s::bigint[])"
_SELECT_STAGES = f"""
SELECT lead_id, {bulk.as_micros("at")}, rank, {bulk.as_micros("seen_at")}, delivery_id, index, timed, status_id,
       pipeline_id
FROM deal_transitions WHERE lead_id = ANY(%s::bigint[])
"""  # noqa: S608

Stages = dict[int, list[Observation]]


class LockedDeals:
    """The deals of a batch, locked in the order of lead_id (law 5). Missing ones are inserted first, empty."""

    def __init__(self, lead_ids: Iterable[int]) -> None:
        self.lead_ids = sorted(set(lead_ids))
        self._states: dict[int, DealState] = {}
        self._merges: dict[int, State] = {}
        self._joined: dict[int, State] = {}
        self._new_stages: list[tuple[int, Observation]] = []
        with connection.cursor() as cursor:
            cursor.execute(_LOCK_MISSING, [bulk.ids(self.lead_ids)])
            cursor.execute(f"{_SELECT} FOR UPDATE", [bulk.ids(self.lead_ids)])
            for *values, state in cursor.fetchall():
                self._states[values[0]] = _deal_state(values)
                self._merges[values[0]] = orjson.loads(state)
        self.stages = select_stages(self.lead_ids)

    def learn(self, lead_id: int, contribution: State, observation: Observation | None) -> None:
        """Join what one event says into its deal."""
        known = self._joined.get(lead_id, self._merges[lead_id])
        joined = merge.join(known, contribution)
        if joined != known:
            self._joined[lead_id] = joined
        if observation is not None:
            self._new_stages.append((lead_id, observation))

    def forget_names(self, forgotten: str) -> None:
        """Replace every name that was ever said of these deals."""
        for lead_id in self.lead_ids:
            self._joined[lead_id] = merge.forget_name(self._joined.get(lead_id, self._merges[lead_id]), forgotten)

    def save(self) -> list[DealState]:
        """Write the deals that changed; return the states of all, by lead_id."""
        moved = self._save_stages()
        rows = []
        for lead_id in self._joined.keys() | moved:
            state = self._joined.get(lead_id, self._merges[lead_id])
            deal = merge.deal_state(lead_id, state, self.stages.get(lead_id, ()))
            if (known := self._states[lead_id].contact_id) != deal.contact_id:
                deal = replace(deal, left_contact=known)
            self._states[lead_id] = deal
            rows.append((*(getattr(deal, name) for name in _STATE_FIELDS), state))
        rows.sort(key=lambda row: row[0])
        bulk.upsert(Deal, (*_STATE_FIELDS, "merge"), rows, key=("lead_id",))
        return [self._states[lead_id] for lead_id in self.lead_ids]

    def wanting(self) -> set[int]:
        """Return the deals, as they are now, that AmoCRM should be asked about."""
        return {
            lead_id
            for lead_id in self.lead_ids
            if merge.wants_answer(self._joined.get(lead_id, self._merges[lead_id]), self._states[lead_id])
        }

    def _save_stages(self) -> set[int]:
        """Write the observations that say something new; return the deals that they belong to."""
        by_lead: Stages = {}
        for lead_id, observation in self._new_stages:
            by_lead.setdefault(lead_id, []).append(observation)
        rows: list[tuple[object, ...]] = []
        moved: set[int] = set()
        for lead_id, new in sorted(by_lead.items()):
            known = merge.join_observations(self.stages.get(lead_id, ()))
            joined = merge.join_observations([*known.values(), *new])
            if joined != known:
                moved.add(lead_id)
                self.stages[lead_id] = list(joined.values())
                rows += [
                    _stage_row(lead_id, observation)
                    for key, observation in joined.items()
                    if known.get(key) != observation
                ]
        bulk.upsert(DealTransition, _TRANSITION_FIELDS, rows, key=_TRANSITION_KEY)
        return moved


def lock_deals(lead_ids: Sequence[int]) -> list[DealState]:
    """Lock these deals and return their stored states, in the order of lead_id; unknown ones are left out."""
    with connection.cursor() as cursor:
        cursor.execute(f"{_SELECT} FOR UPDATE", [bulk.ids(lead_ids)])
        return [_deal_state(values) for *values, _ in cursor.fetchall()]


def hold_deals(lead_ids: Iterable[int]) -> None:
    """Lock these deals in the order of lead_id (law 5), for who does not need their states."""
    with connection.cursor() as cursor:
        cursor.execute(_HOLD, [bulk.ids(lead_ids)])


def select_causes(lead_ids: Iterable[int]) -> dict[int, int | None]:
    """Return the last of the deliveries that each of these deals is as it is by."""
    with connection.cursor() as cursor:
        cursor.execute(_SELECT_MERGE, [list(lead_ids)])
        return {lead_id: merge.newest_delivery(orjson.loads(state)) for lead_id, state in cursor.fetchall()}


def select_stages(lead_ids: Sequence[int]) -> Stages:
    """Return the observations of these deals, in no order."""
    stages: Stages = {}
    with connection.cursor() as cursor:
        cursor.execute(_SELECT_STAGES, [bulk.ids(lead_ids)])
        for lead_id, at, rank, seen_at, delivery_id, index, timed, status_id, pipeline_id in cursor.fetchall():
            seen = Seen(seen_at, delivery_id, index)
            stages.setdefault(lead_id, []).append(Observation(at, rank, seen, timed, status_id, pipeline_id))
    return stages


def _deal_state(values: Sequence[object]) -> DealState:
    fields: dict[str, Any] = dict(zip(_STATE_FIELDS, values, strict=True))
    for name in ("wins", "past_wins"):
        fields[name] = orjson.loads(fields[name])
    for name in _TIMES:
        if fields[name] is not None:
            fields[name] = merge.from_micros(fields[name])
    return DealState(**fields)


def _stage_row(lead_id: int, stage: Observation) -> tuple[object, ...]:
    at: datetime = merge.from_micros(stage.at)
    return (
        lead_id, at, stage.rank, merge.from_micros(stage.seen.received_at), stage.seen.delivery_id, stage.seen.position,
        stage.timed, stage.status_id, stage.pipeline_id,
    )  # fmt: skip
