"""What chats were told of a deal, and what they are to be told next so that their last word is true. Pure.

A telling says that the sale stands: for the first time (SALE), or again after its taking back was told (RESTORED).
Tellings of a deal are numbered, whatever its pipelines (`win_number`): the number of a win begins anew in each, and
changes when older hooks come late. A TAKEN_BACK has the number of the telling that it takes back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from traffic.models import SalesNotification

Kind = SalesNotification.Kind
Status = SalesNotification.Status
Chat = int | None  # None: the common chat of the moment of sending

TELLINGS = (Kind.SALE, Kind.RESTORED)
# A chat with a message of one of these has read it, or may have, or is about to.
REACHED = (Status.SENDING, Status.SENT, Status.UNCERTAIN, Status.CONSOLE)


class Told(NamedTuple):
    """A message about a deal as it stands in the outbox."""

    id: int
    chat: Chat
    kind: str
    number: int
    status: str


@dataclass(slots=True)
class Plan:
    """What to write: messages by the status that they get, tellings to take back, and new ones (chat, kind, number)."""

    cancel: list[int] = field(default_factory=list)
    queue: list[int] = field(default_factory=list)
    take_back: list[int] = field(default_factory=list)
    tell: list[tuple[Chat, str, int]] = field(default_factory=list)


def taken_back(told: Iterable[Told], *, live: bool) -> Plan:
    """Tell no more that the sale stands; if `live`, take it back in each chat whose last word that is."""
    plan = Plan()
    for messages in _by_chat(told).values():
        plan.cancel += [one.id for one in messages if one.kind in TELLINGS and one.status == Status.PENDING]
        last = _last_telling(one for one in messages if one.status in REACHED)
        if last is None or not live:
            continue
        back = _taking_back(messages, last)
        if back is None:
            plan.take_back.append(last.id)
        elif back.status == Status.CANCELLED:
            plan.queue.append(back.id)
    return plan


def won_anew(told: Sequence[Told], chats: Iterable[Chat], *, at_least: int) -> Plan:
    """Tell these chats of another win, after the one before is taken back where that was not told yet."""
    plan = taken_back(told, live=True)
    number = max(at_least, 1 + max((one.number for one in told), default=0))
    plan.tell = [(chat, Kind.SALE, number) for chat in chats]
    return plan


def restored(told: Sequence[Told], chats: Iterable[Chat], *, is_young: bool, at_least: int) -> Plan:
    """Tell these chats that a sale stands which had been taken back: nothing where that was not told yet.

    `is_young` is whether chats that have not heard of it may hear of it now.
    """
    by_chat = _by_chat(told)
    plan = Plan()
    for messages in by_chat.values():
        last = _last_telling(messages)
        back = last and _taking_back(messages, last)
        if back and back.status in (Status.PENDING, Status.FAILED):
            plan.cancel.append(back.id)
    _tell(plan, by_chat, chats, is_young, at_least)
    return plan


def moved(told: Sequence[Told], chats: Sequence[Chat], *, at_least: int) -> Plan:
    """Tell a standing sale, another's now, to these chats that have not heard of it, and no more to others."""
    plan = Plan()
    waiting = [one for one in told if one.kind in TELLINGS and one.status == Status.PENDING]
    plan.cancel = [one.id for one in waiting if one.chat not in chats]
    _tell(plan, _by_chat(told), chats, True, at_least)
    return plan


def _tell(
    plan: Plan, by_chat: Mapping[Chat, Sequence[Told]], chats: Iterable[Chat], is_young: bool, at_least: int
) -> None:
    """Add to the plan what makes it the last word in each of these chats that the sale stands."""
    newest = max((one.number for messages in by_chat.values() for one in messages), default=0)
    for chat in chats:
        messages = by_chat.get(chat, [])
        last = _last_telling(messages)
        if last is None:
            if is_young:
                plan.tell.append((chat, Kind.SALE, newest or at_least))
        elif last.status == Status.CANCELLED:
            if is_young or last.kind == Kind.RESTORED:
                plan.queue.append(last.id)
        elif last.status in REACHED:
            back = _taking_back(messages, last)
            if back and back.id not in plan.cancel and back.status in (Status.PENDING, *REACHED):
                plan.tell.append((chat, Kind.RESTORED, newest + 1))


def _by_chat(told: Iterable[Told]) -> dict[Chat, list[Told]]:
    by_chat: defaultdict[Chat, list[Told]] = defaultdict(list)
    for one in told:
        by_chat[one.chat].append(one)
    return by_chat


def _last_telling(messages: Iterable[Told]) -> Told | None:
    return max((one for one in messages if one.kind in TELLINGS), key=lambda one: (one.number, one.id), default=None)


def _taking_back(messages: Iterable[Told], telling: Told) -> Told | None:
    return next((one for one in messages if one.kind == Kind.TAKEN_BACK and one.number == telling.number), None)
