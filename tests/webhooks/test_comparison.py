from __future__ import annotations

from typing import Any

import pytest

from tests.amocrm_server import FakeAmoCrm
from tests.bodies import LOST, OPEN, PIPELINE, WON
from webhooks import merge
from webhooks.amocrm import events, form
from webhooks.comparison import Hook, Known, Verdict, compare, read_changes
from webhooks.merge import Seen

T = 1_766_217_600
NOW = T + 86_400


@pytest.fixture
def crm() -> FakeAmoCrm:
    """Only its memory: nobody asks it here."""
    return FakeAmoCrm()


def known(*bodies: str, hooks: tuple[Hook, ...] = ()) -> Known:
    """Return what these forms add up to, received a second after T each."""
    state: merge.State = {}
    stages = []
    for number, body in enumerate(bodies):
        for event in events.parse(form.decode_form(body.encode()), utm_field_ids={}).events:
            assert isinstance(event, events.DealEvent)
            seen = Seen((T + 1 + number) * 1_000_000, number, 0)
            state = merge.join(state, merge.contribution(event, seen))
            if observed := merge.observation(event, seen):
                stages.append(observed)
    return Known(state, stages, hooks)


def hook(status: int = WON, action: str = "leads.status", **fields: Any) -> Hook:
    return Hook(action, status, PIPELINE, received_at=T + 1, told_at=T)._replace(**fields)


def form_of(status: int = WON, at: int = T, action: str = "status", rest: str = "") -> str:
    lead = f"leads[{action}][0]"
    return f"{lead}[id]=1&{lead}[status_id]={status}&{lead}[pipeline_id]={PIPELINE}&{lead}[updated_at]={at}{rest}"


def judge(crm: FakeAmoCrm, ours: Known | None, *, lead: bool = True, connected_at: float = 0) -> Verdict:
    return compare(
        1,
        known=ours,
        lead=crm.leads.get(1) if lead else None,
        changes=read_changes(crm.events),
        utm_field_ids={},
        connected_at=connected_at,
        now=NOW,
    )


def missed(verdict: Verdict) -> list[str]:
    return [change.kind for change in verdict.missed]


def test_a_deal_whose_hooks_all_came_and_were_answered_has_nothing_to_tell(crm: FakeAmoCrm):
    crm.put(1, at=T - 60, status=OPEN)
    crm.put(1, at=T, status=WON)
    first = judge(crm, known(form_of(), hooks=(hook(),)))
    assert first.differs == ("closed_at",)
    answered = merge.join(known(form_of()).state, merge_of(crm.leads[1]))
    second = judge(crm, Known(answered, known(form_of()).stages, (hook(),)))
    assert (second.differs, second.missed, second.is_gone, second.lead) == ((), (), False, None)


def merge_of(lead: dict[str, Any]) -> merge.State:
    tree = {
        "_embedded": {
            "leads": [{k: v if isinstance(v, dict | list | bool) or v is None else str(v) for k, v in lead.items()}]
        }
    }
    (event,) = events.parse(tree, utm_field_ids={}, snapshot=True).events
    assert isinstance(event, events.DealEvent)
    return merge.contribution(event, Seen((T + 2) * 1_000_000, 99, 0))


def test_a_win_that_nobody_told_of_is_missed_and_enters(crm: FakeAmoCrm):
    crm.put(1, at=T - 60, status=OPEN)
    crm.put(1, at=T, status=WON, price=5)
    verdict = judge(crm, None)
    assert verdict.differs == ("lead_id",)
    assert missed(verdict) == ["won"]
    assert verdict.lead is crm.leads[1]
    win = verdict.deal.win()
    assert win is not None
    assert (win.at.timestamp(), verdict.deal.price) == (T, 5)


def test_a_win_that_was_taken_back_unseen_is_missed(crm: FakeAmoCrm):
    crm.put(1, at=T - 60, status=OPEN)
    crm.put(1, at=T, status=WON)
    crm.put(1, at=T + 60, status=LOST)
    verdict = judge(crm, known(form_of(), hooks=(hook(),)))
    assert missed(verdict) == ["unwon"]
    assert "wins" in verdict.differs
    assert verdict.deal.win() is None


def test_a_win_in_another_pipeline_before_the_deal_moved_on_is_told_by_the_record(crm: FakeAmoCrm):
    crm.put(1, at=T - 60, status=OPEN)
    crm.put(1, at=T, status=WON)
    crm.put(1, at=T + 60, status=OPEN, pipeline=5)
    verdict = judge(crm, None)
    win = verdict.deal.win([PIPELINE])
    assert win is not None
    assert (win.at.timestamp(), win.moved) == (T, True)
    assert len(verdict.events) == 2


def test_a_deal_created_in_won_has_no_entry_in_the_record(crm: FakeAmoCrm):
    crm.put(1, at=T, status=WON)
    assert missed(judge(crm, None)) == ["added"]
    assert missed(judge(crm, known(form_of(action="add"), hooks=(hook(action="leads.add"),)))) == []


def test_deletions_and_restorations_are_missed(crm: FakeAmoCrm):
    crm.put(1, at=T - 60, status=OPEN)
    crm.put(1, at=T, status=WON)
    crm.delete(1, at=T + 60)
    crm.restore(1, at=T + 120)
    crm.delete(1, at=T + 180)
    verdict = judge(crm, known(form_of(), hooks=(hook(), hook(0, "leads.restore", told_at=T + 120))))
    assert missed(verdict) == ["deleted", "deleted"]
    assert verdict.deal.is_deleted


def test_a_deal_out_of_the_bin_is_deleted_by_the_record(crm: FakeAmoCrm):
    crm.put(1, at=T - 60, status=OPEN)
    crm.put(1, at=T, status=WON)
    crm.delete(1, at=T + 60)
    verdict = judge(crm, known(form_of(), hooks=(hook(),)), lead=False)
    assert (verdict.deal.is_deleted, verdict.is_gone) == (True, False)
    assert "is_deleted" in verdict.differs


def test_a_win_that_amocrm_does_not_have_is_said_and_left(crm: FakeAmoCrm):
    verdict = judge(crm, known(form_of(), hooks=(hook(),)), lead=False)
    assert (verdict.is_gone, verdict.differs) == (True, ())


@pytest.mark.parametrize(
    ("came", "is_missed"),
    [
        (hook(), False),
        (hook(pipeline_id=None, told_at=None), False),
        (hook(received_at=T + 6000, told_at=None), False),
        (hook(received_at=T + 20_000, told_at=T), False),
        (hook(received_at=T + 20_000, told_at=None), True),
        (hook(received_at=T - 300, told_at=T - 300), True),
        (hook(OPEN), True),
        (hook(pipeline_id=5), True),
        (hook(action="leads.delete"), True),
    ],
)
def test_which_hook_tells_of_a_win(crm: FakeAmoCrm, came: Hook, is_missed: bool):
    crm.put(1, at=T - 60, status=OPEN)
    crm.put(1, at=T, status=WON)
    assert missed(judge(crm, known(form_of(), hooks=(came,)))) == ["won"] * is_missed


def test_before_the_first_hook_ever_none_is_missed(crm: FakeAmoCrm):
    crm.put(1, at=T - 60, status=OPEN)
    crm.put(1, at=T, status=WON)
    verdict = judge(crm, None, connected_at=T + 1)
    assert (verdict.missed, verdict.differs) == ((), ("lead_id",))


def test_of_a_deal_that_is_not_won_only_what_matters_is_compared(crm: FakeAmoCrm):
    crm.put(1, at=T, status=OPEN, price=5, name="Имя", contact=7)
    rest = "&leads[status][0][price]=5"
    assert judge(crm, known(form_of(OPEN, rest=rest))).differs == ()


def test_an_unreadable_entry_of_the_record_is_passed_over():
    assert (
        read_changes([{}, {"entity_id": 1, "created_at": T, "type": "lead_status_changed", "value_after": [{}]}]) == []
    )
