from __future__ import annotations

import time
from typing import Any

import pytest

from tests import bodies
from traffic.models import AttributionRule, Sale, SalesNotification
from webhooks import inbox
from webhooks.models import WebhookDelivery

pytestmark = pytest.mark.django_db
NOW = int(time.time())


def tell(body: bytes) -> None:
    WebhookDelivery.objects.create(source="amocrm_traffic", body=body, content_type=bodies.FORM)
    while inbox.process_due():
        pass


def won(lead_id: int = 1, at: int = NOW, **fields: Any) -> bytes:
    return bodies.hook(lead_id, at=at, **{"price": 100, "utm_campaign": "arystan_1", **fields})


def statuses() -> list[str]:
    return list(SalesNotification.objects.order_by("win_number").values_list("notification_status", flat=True))


def test_a_won_deal_of_a_watched_pipeline_is_a_sale_with_a_message():
    tell(won(name="Deal", utm_term="t"))
    sale, message = Sale.objects.get(), SalesNotification.objects.get()
    assert (sale.lead_name, sale.sale_amount, sale.currency, sale.utm_term) == ("Deal", 100, "KZT", "t")
    assert (sale.targetologist_id, sale.matched_text, sale.funnel_type) == ("arystan", "arystan", "express")
    assert (sale.state, sale.pipeline_id, sale.status_id, sale.moved) == ("won", bodies.PIPELINE, 142, False)
    assert (message.lead_id, message.sale_amount, message.targetologist_id, message.utm_campaign) == (
        1, 100, "arystan", "arystan_1",
    )  # fmt: skip
    assert (message.kind, message.win_number, message.notification_status) == ("sale", 1, "pending")


def test_another_pipelines_deal_is_no_sale():
    tell(won(pipeline=999))
    assert not Sale.objects.exists()


def test_a_deal_that_nobody_brought_is_unknown_and_still_told():
    tell(won(utm_campaign="Random", utm_source="facebook"))
    assert (Sale.objects.get().channel, Sale.objects.get().targetologist) == ("unknown", None)
    assert statuses() == ["pending"]


def test_a_referral_stands_apart_and_is_not_congratulated():
    tell(won(utm_source="ref_aru"))
    assert Sale.objects.get().channel == "referral"
    assert statuses() == []


@pytest.mark.parametrize("how", [{"status": bodies.LOST}, {"status": bodies.OPEN}, {"action": "delete"}])
def test_a_sale_taken_back_is_reversed_and_its_unsent_message_cancelled(how: dict[str, Any]):
    tell(won())
    tell(won(at=NOW + 1, **how))
    assert (Sale.objects.get().state, statuses()) == ("reversed", ["cancelled"])


def test_won_again_is_a_second_win_with_a_message_of_its_own():
    tell(won())
    tell(won(at=NOW + 1, status=bodies.LOST))
    tell(won(at=NOW + 2))
    assert (Sale.objects.get().state, Sale.objects.get().win_number) == ("won", 2)
    assert statuses() == ["cancelled", "pending"]


def test_restored_before_the_message_was_sent_it_is_sent_after_all():
    tell(won())
    tell(won(action="delete"))
    assert statuses() == ["cancelled"]
    tell(won(action="restore"))
    assert (Sale.objects.get().state, Sale.objects.get().win_number, statuses()) == ("won", 1, ["pending"])


def test_an_edit_changes_the_sale_and_sends_nothing():
    tell(won())
    tell(won(at=NOW + 9, action="update", price=250, name="New"))
    sale = Sale.objects.get()
    assert (sale.sale_amount, sale.lead_name, sale.sale_date.timestamp()) == (250, "New", NOW)
    assert statuses() == ["pending"]


def test_a_sale_moved_to_another_pipeline_stays_and_is_marked():
    tell(won())
    tell(won(at=NOW + 1, status=bodies.OPEN, pipeline=999))
    assert (Sale.objects.get().state, Sale.objects.get().moved, Sale.objects.get().pipeline_id) == (
        "won", True, bodies.PIPELINE,
    )  # fmt: skip


def test_utm_that_comes_late_attributes_the_sale():
    tell(bodies.hook(1, at=NOW))
    assert Sale.objects.get().channel == "unknown"
    tell(won(at=NOW + 1, action="update"))
    assert Sale.objects.get().targetologist_id == "arystan"


def test_a_changed_rule_moves_no_old_sale():
    tell(won())
    AttributionRule.objects.all().delete()
    tell(won(at=NOW + 1, action="update", price=5))
    assert (Sale.objects.get().targetologist_id, Sale.objects.get().sale_amount) == ("arystan", 5)


def test_an_old_sale_makes_no_message():
    tell(won(at=NOW - 4 * 86400))
    assert Sale.objects.count() == 1
    assert statuses() == []


def test_replay_makes_no_message():
    delivery = WebhookDelivery.objects.create(source="amocrm_traffic", body=won(), content_type=bodies.FORM)
    inbox.process([delivery.pk], live=False)
    assert Sale.objects.count() == 1
    assert statuses() == []


def test_an_inactive_rule_does_not_match():
    AttributionRule.objects.update(active=False)
    tell(won())
    assert Sale.objects.get().channel == "unknown"


def test_a_pattern_that_grows_when_it_is_compared_breaks_no_sale():
    AttributionRule.objects.create(order=0, targetologist_id="muha", pattern="\ufdfa" * 200)  # 18 characters each
    tell(won(utm_campaign="\ufdfa" * 200))
    assert Sale.objects.get().targetologist_id == "muha"
    assert len(Sale.objects.get().matched_text) == 200
