"""AmoCRM's word against ours, deal by deal: what entering its answer would change, and which hooks never came. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from webhooks import merge
from webhooks.amocrm import events, form
from webhooks.merge import DealState, Observation, Seen, State

Item = dict[str, Any]

WON, UNWON, ADDED, DELETED, RESTORED = "won", "unwon", "added", "deleted", "restored"
# After its event a hook comes at once, and for the last time after 5 + 15 + 15 + 60 minutes; clocks differ.
FIRST_SECONDS = -60
LAST_SECONDS = 3 * 3600
# How much the time in a hook may differ from the event's in AmoCRM's record.
SAME_SECONDS = 5
# A deal created in "won" is closed in the second in which it is created, or in the next ones.
CREATED_SECONDS = 60
_FIELDS = tuple(field.name for field in fields(DealState))
# Nobody asks for these of a deal that is not won.
_OF_WINS_ONLY = ("name", "contact_id", "closed_at")
# Behind every delivery that there is: what an answer of this moment would be.
_NEXT_DELIVERY = 2**62


class Change(NamedTuple):
    """Something that became of a deal, by AmoCRM's record. `at` is unix seconds; the stage is None where none is told.

    `item` is the entry of the record; None for a deal created in "won", of which there is none.
    """

    lead_id: int
    kind: str
    at: int
    status_id: int | None = None
    pipeline_id: int | None = None
    item: Item | None = None


class Hook(NamedTuple):
    """What a delivery of AmoCRM's own said of a deal; times in unix seconds, `told_at` is the one in the body."""

    action: str  # leads.status
    status_id: int | None
    pipeline_id: int | None
    received_at: float
    told_at: int | None


class Known(NamedTuple):
    """What we know of a deal: its merge state, the stages it was seen in, the hooks that told of it."""

    state: State
    stages: Sequence[Observation] = ()
    hooks: Sequence[Hook] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the comparison of one deal came to.

    `differs` names the fields that AmoCRM's answer would change (of an unknown deal only lead_id): then `lead` and
    `events` are to enter. `deal` is the state after that. `is_gone`: we have it won, and AmoCRM does not have it.
    """

    lead_id: int
    deal: DealState
    differs: tuple[str, ...]
    missed: tuple[Change, ...]
    is_gone: bool
    lead: Item | None
    events: tuple[Item, ...]


def read_changes(items: Iterable[Item]) -> list[Change]:
    """Return what entries of AmoCRM's record (`GET /events`) say of wins, deletions and restorations."""
    changes = []
    for item in items:
        lead_id, at = item.get("entity_id"), item.get("created_at")
        if not isinstance(lead_id, int) or not isinstance(at, int):
            continue
        if item.get("type") == "lead_status_changed":
            after = _stage(item)
            if after is not None:
                changes.append(Change(lead_id, WON if after[0] == events.WON else UNWON, at, *after, item))
        elif item.get("type") in ("lead_deleted", "lead_restored"):
            changes.append(Change(lead_id, DELETED if item["type"] == "lead_deleted" else RESTORED, at, item=item))
    return changes


def compare(
    lead_id: int,
    *,
    known: Known | None,
    lead: Item | None,
    changes: Sequence[Change],
    utm_field_ids: Mapping[str, str],
    connected_at: float,
    now: float,
    moves: Sequence[Item] = (),
) -> Verdict:
    """Compare one deal.

    `lead` is AmoCRM's present answer about it (None: it has no such deal), `changes` what its record says of the time
    looked at. A hook is missed when its event is not younger than `connected_at` (the first hook ever; unix seconds)
    and nothing like it came in the time in which AmoCRM sends it. `moves` are all of its changes of the stage, where
    they were asked for (`leans_on_moves`).
    """
    before = _deal(lead_id, known or Known({}), ())
    told = [change.item for change in changes if change.item and change.kind in (WON, UNWON)]
    gone = [change.item for change in changes if change.item and change.kind == DELETED]
    if lead is None and gone:
        # Deleted and out of the bin. What AmoCRM still has says by itself whether it is deleted.
        told += gone
    told += [item for item in moves if item not in told]
    after = _deal(lead_id, known or Known({}), _events(lead, told, utm_field_ids), now)
    is_money = before.win() is not None or after.win() is not None
    differs = tuple(
        name
        for name in _FIELDS
        if getattr(before, name) != getattr(after, name) and (is_money or name not in _OF_WINS_ONLY)
    )
    if known is None and differs:
        differs = ("lead_id",)
    if lead is not None and _created_won(lead, changes):
        changes = [*changes, Change(lead_id, ADDED, lead["closed_at"], lead["status_id"], lead.get("pipeline_id"))]
    hooks = known.hooks if known else ()
    return Verdict(
        lead_id=lead_id,
        deal=after,
        differs=differs,
        missed=tuple(change for change in changes if change.at >= connected_at and not _came(change, hooks)),
        is_gone=lead is None and after.win() is not None,
        lead=lead if differs else None,
        events=tuple(told) if differs else (),
    )


def _events(
    lead: Item | None, told: Sequence[Item], utm_field_ids: Mapping[str, str]
) -> tuple[events.DealEvent | events.OtherEvent, ...]:
    """Return what the stored answer would say: the same bytes' way as through the inbox."""
    embedded = {"leads": [lead] if lead else [], "events": list(told)}
    tree = form.decode_json(json.dumps({"_embedded": embedded}).encode())
    return events.parse(tree, utm_field_ids=utm_field_ids, snapshot=True).events


def _deal(
    lead_id: int, known: Known, told: Iterable[events.DealEvent | events.OtherEvent], now: float = 0
) -> DealState:
    """Return the deal's state once this would have arrived `now`."""
    state = known.state
    stages = list(known.stages)
    for index, event in enumerate(told):
        if isinstance(event, events.DealEvent):
            seen = Seen(int(now * merge.SECOND), _NEXT_DELIVERY, index)
            state = merge.join(state, merge.contribution(event, seen))
            if (observation := merge.observation(event, seen)) is not None:
                stages.append(observation)
    return merge.deal_state(lead_id, state, merge.join_observations(stages).values())


def leans_on_moves(deal: DealState) -> bool:
    """Return whether a win of another pipeline than the deal is won in stands: nobody may have told that it was lost.

    The way from one open or lost stage of a pipeline to another is no trace among what became "won" or no longer is.
    """
    own = str(deal.pipeline_id or 0) if deal.status_id == events.WON else None
    return bool(deal.wins.keys() - {own})


def _created_won(lead: Item, changes: Sequence[Change]) -> bool:
    """Return whether a deal stands in "won" since it was created: AmoCRM then sends `add`, and records no change."""
    created, closed = lead.get("created_at"), lead.get("closed_at")
    return (
        lead.get("status_id") == events.WON
        and isinstance(created, int)
        and isinstance(closed, int)
        and 0 <= closed - created <= CREATED_SECONDS
        and not any(change.kind == WON for change in changes)
    )


def _came(change: Change, hooks: Iterable[Hook]) -> bool:
    """Return whether a hook told of this change."""
    return any(
        _tells(hook, change)
        and (
            FIRST_SECONDS <= hook.received_at - change.at <= LAST_SECONDS
            or (hook.told_at is not None and abs(hook.told_at - change.at) <= SAME_SECONDS)
        )
        for hook in hooks
    )


def _tells(hook: Hook, change: Change) -> bool:
    action = hook.action.removeprefix("leads.")
    if change.kind in (DELETED, RESTORED):
        return action == ("delete" if change.kind == DELETED else "restore")
    same_pipeline = hook.pipeline_id is None or change.pipeline_id is None or hook.pipeline_id == change.pipeline_id
    return action != "delete" and hook.status_id == change.status_id and same_pipeline


def _stage(item: Item) -> tuple[int, int] | None:
    """Return (stage, pipeline) after a change; None where the entry does not say it."""
    for value in item.get("value_after") or ():
        stage = value.get("lead_status") if isinstance(value, dict) else None
        if isinstance(stage, dict) and isinstance(stage.get("id"), int) and isinstance(stage.get("pipeline_id"), int):
            return stage["id"], stage["pipeline_id"]
    return None
