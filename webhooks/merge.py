"""State ∨ event → state: what AmoCRM said of a deal, in any order, adds up to one state (law 3). Pure.

`contribution(event)` is the state of a deal of which nothing else is known, and `join` unites two states. `join` is
commutative, associative and idempotent, so deliveries may come late, twice, in any order and in any batches.

A state is plain JSON (`Deal.merge`): per group of fields that AmoCRM writes together a register

    [timed, untimed]   timed:   [CRM time, rank, [[value, seen], …]]   the latest time, of the highest rank
                       untimed: [seen, value]                          the last to arrive (Digital Pipeline)

and `deleted`, `alive` (a `seen` each) and `latest` (the latest CRM time of all). `seen` is [received_at in unix
microseconds, delivery id, position in it]. Values of one time and rank tie: the one first seen later wins, so that a
retry never does. An API answer is no retry but a fresh look, so among answers of one time the one last seen wins.

The stages that a deal was seen in (Observation) are a growing set beside it, kept in `deal_transitions`: from them
follows when, and in which pipelines, the wins that stand were won.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from webhooks.amocrm.events import API, LOST, UTM_NAMES, WON, DealEvent

RANKS = {"add": 0, "update": 1, "responsible": 1, "status": 2, "restore": 2, API: 3}
UNTIMED_RANK = -1
SECOND = 1_000_000
# A register for each pipeline: when, by an answer, the deal was closed as won there.
CLOSED_IN = "closed in "
# Clocks differ by seconds; a CRM time this far ahead of its own arrival is broken, and would win for ever.
MAX_CLOCK_SKEW = 3600
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

State = dict[str, Any]


class Seen(NamedTuple):
    """When and where something was said. The order of arrival: no two events share one."""

    received_at: int  # unix microseconds
    delivery_id: int
    position: int


class Observation(NamedTuple):
    """At this moment the deal stood in this stage. Sorts into the order in which the stages are taken to have come."""

    at: int  # unix microseconds: CRM time, else the time of arrival
    rank: int
    seen: Seen
    timed: bool
    status_id: int
    pipeline_id: int | None


class Win(NamedTuple):
    """A win that stands.

    Where it was won; when (closed_at, if the API told it); whether the deal moved on since; and the number of wins
    there so far, this one included. A deal that was deleted and restored is still in the same win.
    """

    pipeline_id: int
    at: datetime
    moved: bool
    number: int


@dataclass(frozen=True, slots=True)
class DealState:
    """The latest known state of a deal, as receivers get it. What is unknown is None, or "" for texts."""

    lead_id: int
    name: str
    price: Decimal | None
    status_id: int | None
    pipeline_id: int | None
    utm_source: str
    utm_medium: str
    utm_campaign: str
    utm_content: str
    utm_term: str
    utm_referrer: str
    fbclid: str
    contact_id: int | None
    closed_at: datetime | None
    won_at: datetime | None
    # Pipeline ("0" where it is unknown) → moment of the win in unix microseconds, and its number.
    wins: dict[str, list[int]]
    # Pipeline → the last win there that no longer stands: its moment and number, and when it was taken back.
    past_wins: dict[str, list[int]]
    is_deleted: bool
    needs_check: bool
    # The contact that it had until this transaction, where it has another now: for who locks what follows from it.
    left_contact: int | None = None

    def win(self, pipelines: Collection[int] | None = None) -> Win | None:
        """Return the win that stands in one of `pipelines` (None: in any), the earliest; None when there is none.

        A deal that is deleted or lost has none; one that moved to another pipeline after the win keeps it (law 4).
        """
        if self.is_deleted or not self.wins:
            return None
        standing = [
            (moment, int(pipeline), number)
            for pipeline, (moment, number) in self.wins.items()
            if pipelines is None or int(pipeline) in pipelines
        ]
        if not standing:
            return None
        moment, pipeline_id, number = min(standing)
        moved = self.status_id != WON or (self.pipeline_id or 0) != pipeline_id
        return Win(pipeline_id, from_micros(moment), moved, number)

    def taken_back(self, pipelines: Collection[int] | None = None) -> Win | None:
        """Return the win in one of `pipelines` that was taken back last; None while one stands, or if none was."""
        if self.win(pipelines) is not None:
            return None
        gone = [(until, moment, int(pipeline), number) for pipeline, (moment, number, until) in self.past_wins.items()]
        if self.is_deleted:  # they stood until now, and will again if the deal is restored
            latest = max((until for until, *_ in gone), default=0) + 1
            gone += [(latest, moment, int(pipeline), number) for pipeline, (moment, number) in self.wins.items()]
        gone = [win for win in gone if pipelines is None or win[2] in pipelines]
        if not gone:
            return None
        _, moment, pipeline_id, number = min(gone, key=lambda win: (-win[0], *win[1:]))
        return Win(pipeline_id, from_micros(moment), False, number)


def contribution(event: DealEvent, seen: Seen) -> State:
    """Return the state that one event alone makes."""
    if event.action == "delete":
        return {"deleted": list(seen)}
    state: State = {}
    time = crm_time(event, seen)
    rank = RANKS[event.action]
    at = list(seen)

    def put(group: str, value: Any) -> None:
        state[group] = [None, [at, value]] if time is None else [[time, rank, [[value, at]]], None]

    # Of a deleted deal the API tells no field but that it is deleted.
    everything = event.is_snapshot and not event.is_deleted
    if event.status_id is not None:
        put("status", [event.status_id, event.pipeline_id])
    if event.price is not None or everything:
        put("price", None if event.price is None else str(event.price))
    if event.name or everything:
        put("name", event.name or "")
    # fbclid and utm_referrer alone do not say that the others are empty.
    if everything or any(name in event.utm for name in UTM_NAMES[:5]):
        put("utm", [event.utm.get(name, "") for name in UTM_NAMES])
    if everything:
        put("contact", event.contact_id)
        put("closed", event.closed_at)
        if event.status_id == WON and event.closed_at is not None:
            put(f"{CLOSED_IN}{event.pipeline_id or 0}", event.closed_at)
    if event.is_deleted:
        state["deleted"] = at
    elif event.action == "restore" or event.is_deleted is False:
        state["alive"] = at
    if time is not None and not event.is_deleted:
        state["latest"] = time
    return state


def crm_time(event: DealEvent, seen: Seen) -> int | None:
    """Return the event's CRM time in unix seconds; None where it has none, or one that cannot be."""
    time = event.updated_at
    return None if time is None or time > seen.received_at // SECOND + MAX_CLOCK_SKEW else time


def observation(event: DealEvent, seen: Seen) -> Observation | None:
    """Return the stage that an event saw the deal in; None when it says none. A `delete` says deletion only."""
    if event.status_id is None or event.action == "delete":
        return None
    time = crm_time(event, seen)
    if time is None:
        return Observation(seen.received_at, UNTIMED_RANK, seen, False, event.status_id, event.pipeline_id)
    return Observation(time * SECOND, RANKS[event.action], seen, True, event.status_id, event.pipeline_id)


def join(one: State, other: State) -> State:
    """Return the least state that knows all that both know. Neither argument is changed."""
    result = dict(one)
    for group, value in other.items():
        mine = result.get(group)
        if mine is None or mine == value:
            result[group] = value
        elif group in ("deleted", "alive", "latest"):
            result[group] = max(mine, value)
        else:
            result[group] = [_join_timed(mine[0], value[0]), _join_untimed(mine[1], value[1])]
    return result


def _join_timed(one: Any, other: Any) -> Any:
    if one is None or other is None:
        return one or other
    if one[:2] != other[:2]:
        return max(one, other, key=lambda register: register[:2])
    if one[2] == other[2]:
        return one
    values: list[list[Any]] = []
    for value, seen in one[2] + other[2]:
        known = next((entry for entry in values if entry[0] == value), None)
        if known is None:
            values.append([value, seen])
        else:
            known[1] = max(known[1], seen) if one[1] == RANKS[API] else min(known[1], seen)
    return [*one[:2], sorted(values, key=lambda entry: entry[1])]


def _join_untimed(one: Any, other: Any) -> Any:
    return one or other if one is None or other is None else max(one, other, key=lambda register: register[0])


def join_observations(observations: Iterable[Observation]) -> dict[tuple[Any, ...], Observation]:
    """Return the observations by what makes them one: the same stage at the same time, said at the same rank.

    Of equal ones the first seen stays; of API answers, as in the registers, the last.
    """
    result: dict[tuple[Any, ...], Observation] = {}
    for new in observations:
        key = (new.at, new.timed, new.rank, new.status_id, new.pipeline_id)
        old = result.get(key)
        if old is None or (new.seen > old.seen if new.rank == RANKS[API] else new.seen < old.seen):
            result[key] = new
    return result


def deal_state(lead_id: int, state: State, observations: Iterable[Observation]) -> DealState:
    """Return what a state and the deal's observations say together. Their order does not matter."""
    status, status_rests = _visible(state.get("status"))
    price, price_rests = _visible(state.get("price"))
    name, name_rests = _visible(state.get("name"))
    utm, utm_rests = _visible(state.get("utm"))
    contact, _ = _visible(state.get("contact"))
    closed, _ = _visible(state.get("closed"))
    status_id = status[0] if status else None
    closings = {
        name.removeprefix(CLOSED_IN): _closing(register)
        for name, register in state.items()
        if name.startswith(CLOSED_IN)
    }
    pipeline_id, won, wins, past_wins = _wins(_up_to_now(state.get("status"), observations), closings)
    return DealState(
        lead_id=lead_id,
        name=name or "",
        price=None if price is None else Decimal(price),
        status_id=status_id,
        pipeline_id=pipeline_id,
        **dict(zip(UTM_NAMES, utm or [""] * len(UTM_NAMES), strict=True)),
        contact_id=contact,
        closed_at=None if closed is None else from_micros(closed * SECOND),
        won_at=None if won is None else from_micros(won),
        wins=wins,
        past_wins=past_wins,
        is_deleted=_is_deleted(state),
        needs_check=status_rests or price_rests or name_rests or utm_rests,
    )


def newest_delivery(state: State) -> int | None:
    """Return the last to arrive of the deliveries that a state rests on; None of an empty one."""
    seen = [state[name] for name in ("deleted", "alive") if name in state]
    for name, register in state.items():
        if name not in ("deleted", "alive", "latest"):
            timed, untimed = register
            seen += [] if timed is None else [timed[2][-1][1]]
            seen += [] if untimed is None else [untimed[0]]
    return int(max(seen)[1]) if seen else None


def wants_answer(state: State, deal: DealState) -> bool:
    """Return whether the AmoCRM API should be asked about a deal: something is missing or rests on a guess.

    An answer as fresh as the latest event has told all there is to tell: what is empty in it is empty.
    """
    if deal.is_deleted:
        return "alive" in state  # a retried delete looks like this
    if deal.needs_check:
        return True
    closed = state.get("closed")  # only answers say it
    if closed is not None and closed[0] is not None and closed[0][0] >= state.get("latest", 0):
        # An untimed event since then says the same stage, but the walk to it, and so the win's date, may be a guess.
        untimed = state["status"][1] if "status" in state else None
        return deal.win() is not None and untimed is not None and untimed[0] > closed[0][2][-1][1]
    has_utm = any(getattr(deal, name) for name in UTM_NAMES[:5])
    return deal.price is None or deal.pipeline_id is None or not has_utm or deal.win() is not None


def forget_name(state: State, forgotten: str) -> State:
    """Return a state in which every name is `forgotten`, as if nothing else had ever been said."""
    if (register := state.get("name")) is None:
        return state
    timed, untimed = register
    if timed is not None:
        time, rank, values = timed
        seen_first: dict[str, Any] = {}
        for value, seen in values:
            name = forgotten if value else value
            among = max if rank == RANKS[API] else min
            seen_first[name] = among(seen_first.get(name, seen), seen)
        timed = [time, rank, sorted(([name, seen] for name, seen in seen_first.items()), key=lambda entry: entry[1])]
    if untimed is not None:
        untimed = [untimed[0], forgotten if untimed[1] else untimed[1]]
    return {**state, "name": [timed, untimed]}


def _visible(register: Any) -> tuple[Any, bool]:
    """Return the value that a register shows, and whether that rests on an untimed event or on a tie."""
    if register is None:
        return None, False
    timed, untimed = register
    if timed is None:
        return untimed[1], True
    value, seen = timed[2][-1]
    if untimed is not None and untimed[0] > seen:
        return untimed[1], untimed[1] != value
    return value, len(timed[2]) > 1 and timed[1] != RANKS[API]


def _closing(register: Any) -> tuple[int, int]:
    """Return the moment of the answer that told last when a deal was closed, and that; both in unix microseconds."""
    timed, untimed = register
    at = untimed[0][0] if timed is None or (untimed is not None and untimed[0] > timed[2][-1][1]) else timed[0] * SECOND
    return at, _visible(register)[0] * SECOND


def _is_deleted(state: State) -> bool:
    """Return whether the deal is deleted: a restore received later, or a timed event dated later, ends it."""
    deleted = state.get("deleted")
    return (
        deleted is not None
        and not state.get("alive", deleted) > deleted
        and not state.get("latest", 0) * SECOND > deleted[0]
    )


def _up_to_now(register: Any, observations: Iterable[Observation]) -> list[Observation]:
    """Return the observations in their order; the last is the one that the status register shows.

    What that one overruled comes before it though dated later: it had arrived before. So does an untimed hook come
    before an answer that was asked for after it, for an answer says that nothing changed since its CRM time. Of such
    latecomers those that tell the same stage are taken for the hooks of that very change, and come last.
    """
    if register is None:
        return []
    timed, untimed = register
    now: tuple[int, int, Seen]
    if timed is None or (untimed is not None and untimed[0] > timed[2][-1][1]):
        now, stage_now = (untimed[0][0], UNTIMED_RANK, Seen(*untimed[0])), untimed[1]
    else:
        stage_now, seen = timed[2][-1]
        now = (timed[0] * SECOND, timed[1], Seen(*seen))
    stages = list(observations)
    answers = [stage for stage in stages if stage.timed and stage.rank == RANKS[API]]
    placed: list[tuple[Any, Observation]] = []
    for stage in stages:
        place: tuple[Any, ...]
        if stage[:3] == now:
            place = (2,)
        elif not stage.timed and (answer := _answer_after(stage, answers)) is not None:
            stage = stage._replace(at=answer.at)
            place = (0, stage.at, stage.rank, _is_same(stage, answer.status_id, answer.pipeline_id), stage.seen)
        elif stage[:3] > now:
            place = (1, _is_same(stage, *stage_now), *stage[:3])
        else:
            place = (0, stage.at, stage.rank, False, stage.seen)
        placed.append((place, stage))
    return [stage for _, stage in sorted(placed, key=lambda pair: pair[0])]


def _answer_after(untimed: Observation, answers: Iterable[Observation]) -> Observation | None:
    """Return the last answer dated before an untimed observation and asked for after it; None where none is."""
    return max((answer for answer in answers if answer.at < untimed.at and untimed.seen < answer.seen), default=None)


def _is_same(stage: Observation, status_id: int, pipeline_id: int | None) -> bool:
    return stage.status_id == status_id and stage.pipeline_id in (None, pipeline_id)


def _wins(
    stages: Iterable[Observation], closings: Mapping[str, tuple[int, int]]
) -> tuple[int | None, int | None, dict[str, list[int]], dict[str, list[int]]]:
    """Walk through the stages; return the pipeline at the end, when the earliest standing win was first seen, all
    standing wins, and the last past one of each pipeline.

    A win stands until the deal is lost (anywhere) or stands in an open stage of the same pipeline (law 4). Its moment
    is AmoCRM's own closed_at, where an answer told it while the win stood (`closings`: see _closing), else the first
    sight. So it stays when the deal moves on.
    """
    pipeline: int | None = None
    wins: dict[str, list[int]] = {}
    past: dict[str, list[int]] = {}
    numbers: dict[str, int] = {}
    first_seen: dict[str, int] = {}
    for stage in stages:
        pipeline = pipeline if stage.pipeline_id is None else stage.pipeline_id
        key = str(pipeline or 0)
        if stage.status_id == WON:
            if key not in wins:
                numbers[key] = numbers.get(key, 0) + 1
                wins[key] = [stage.at, numbers[key]]
                first_seen[key] = stage.at
                past.pop(key, None)
            answered_at, closed = closings.get(key, (None, 0))
            if answered_at == stage.at:
                wins[key][0] = closed
        elif stage.status_id == LOST:
            past |= {key: [*win, stage.at] for key, win in wins.items()}
            wins.clear()
        elif key in wins:
            past[key] = [*wins.pop(key), stage.at]
    won_at = min((first_seen[key] for key in wins), default=None)
    return pipeline, won_at, wins, past


def won_pipelines(observations: Iterable[Observation], until: tuple[int, int, Seen]) -> set[int]:
    """Return the pipelines in which the deal had been seen won by then: whose business an event was."""
    return {seen.pipeline_id or 0 for seen in observations if seen.status_id == WON and seen[:3] <= until}


def from_micros(value: int) -> datetime:
    """Return unix microseconds as an aware datetime in UTC."""
    return EPOCH + timedelta(microseconds=value)
