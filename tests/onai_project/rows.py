"""One row of everything, for tests that look at pages."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import Group, User
from django.utils import timezone

from notifications.models import Alarm, AlarmMessage, TelegramChat
from referrals.cabinet.models import AccessEvent, CabinetMessage, LandingPage, LinkedChat
from referrals.ledger import TAKEN_BACK
from referrals.models import CommissionPlan, Conversion, Earning, Referrer, ReferrerGroup
from referrals.payouts.models import (
    BankDetails,
    LedgerCheck,
    Payout,
    PayoutBatch,
    PayoutEvent,
    PayoutItem,
)
from traffic.models import (
    AdSpend,
    AttributionRule,
    Digest,
    Pipeline,
    ReattributionMove,
    ReattributionRun,
    RuleVersion,
    Sale,
    SaleOverride,
    SalesNotification,
    Targetologist,
)
from traffic.rules.book import current_rulebook
from webhooks import reasons
from webhooks.models import (
    ApiQuestion,
    ApiState,
    Contact,
    Counter,
    Deal,
    DealTransition,
    Heartbeat,
    Reconciliation,
    ReconciliationFinding,
    WebhookDelivery,
    WebhookLog,
    WebhookRefusal,
)

BODY = b"leads%5Bstatus%5D%5B0%5D%5Bid%5D=31&leads%5Bstatus%5D%5B0%5D%5Bname%5D=%D0%9A%D1%83%D1%80%D1%81"


def make_user(username: str, *, role: str = "", superuser: bool = False) -> User:
    user = User.objects.create_user(username, password="a-good-password", is_staff=True, is_superuser=superuser)
    if role:
        user.groups.add(Group.objects.get(name=role))
    return user


def make_sale(lead_id: int, *, when: datetime | None = None, **fields: Any) -> Sale:
    """Create a won sale of 100 000 tenge, of nobody unless a targetologist is given."""
    channel = "targetologist" if fields.get("targetologist") else "unknown"
    defaults = {
        "lead_name": f"Сделка {lead_id}",
        "sale_amount": Decimal(100_000),
        "pipeline_id": 10418746,
        "channel": channel,
        "funnel_type": "express",
        "state": "won",
    }
    return Sale.objects.create(lead_id=lead_id, sale_date=when or timezone.now(), **{**defaults, **fields})


def make_conversion(lead_id: int, referrer: Referrer, *, when: datetime | None = None, **fields: Any) -> Conversion:
    """Create a won conversion of 50 000 tenge with its accrual of 10 %, payable a fortnight after the sale."""
    when = when or timezone.now()
    defaults = {"lead_name": f"Сделка {lead_id}", "sale_amount": Decimal(50_000), "state": "won"}
    available_at = when + timedelta(days=14)
    conversion = Conversion.objects.create(
        lead_id=lead_id,
        referrer=referrer,
        utm_source=referrer.code,
        sale_date=when,
        available_at=available_at,
        **{**defaults, **fields},
    )
    if conversion.sale_amount:
        amount = conversion.sale_amount / 10
        common: dict[str, Any] = {"conversion": conversion, "referrer": referrer, "available_at": available_at}
        Earning.objects.create(**common, seq=1, kind="accrual", amount=amount, reason="10 %: 50000")
        if conversion.state == "reversed":
            Earning.objects.create(**common, seq=2, kind="reversal", amount=-amount, reason=TAKEN_BACK)
    return conversion


def make_delivery(lead_id: int, **fields: Any) -> WebhookDelivery:
    """Create a delivery with one log row about this deal."""
    defaults = {"source": "amocrm_traffic", "body": BODY, "status": "dead", "headers": {"Accept": "*/*"}}
    delivery = WebhookDelivery.objects.create(**{**defaults, **fields})
    WebhookLog.objects.create(
        delivery=delivery,
        index=0,
        received_at=timezone.now(),
        processed_at=timezone.now(),
        source=delivery.source,
        action="status",
        lead_id=lead_id,
        deal_data={"id": lead_id},
        routing_decision="ignored",
        processing_status="ignored",
        error_message=reasons.because(reasons.NOT_WON, "143"),
    )
    return delivery


def one_of_each() -> None:
    """Fill every table that the admin shows."""
    now = timezone.now()
    kenesary = Targetologist.objects.get(slug="kenesary")
    delivery = make_delivery(31, error_message=reasons.CRASHED)
    Deal.objects.create(lead_id=31, name="Курс", price=Decimal(100_000), won_at=now, contact_id=7)
    DealTransition.objects.create(
        lead_id=31, at=now, timed=True, rank=1, status_id=142, delivery=delivery, index=0, seen_at=now
    )
    WebhookRefusal.objects.create(hour=now, source="amocrm_traffic", reason="secret", count=3)
    Counter.objects.create(name="deliveries", source="amocrm", outcome="processed", value=3)
    Heartbeat.objects.create(name="inbox", seen_at=now)
    ApiState.objects.create(trouble="token", detail="401", failures=2, failed_since=now, paused_until=now)
    ApiQuestion.objects.create(kind="deal", object_id=31, due_at=now, error=reasons.NOT_IN_AMOCRM)
    Contact.objects.create(contact_id=7, name="Айгерим Тестова", phone="+7 700 000 00 01", email="x@d.b")
    run = Reconciliation.objects.create(since=now, done_until=now, until=now, deals=3, entered=1, missed=1, error="504")
    for kind in ReconciliationFinding.Kind.values:
        ReconciliationFinding.objects.create(run=run, lead_id=31, kind=kind, at=now, fields="price, wins")
    chat = TelegramChat.objects.create(chat_id=-100, title="Продажи")
    alarm = Alarm.objects.create(name="dead", text="Разберитесь с доставкой")
    Digest.objects.create(kind="daily", date=now.date(), chat=chat, notification_status="failed", error="нет чата")
    AlarmMessage.objects.create(alarm=alarm, chat=chat, kind="started", notification_status="failed", error="нет чата")
    Alarm.objects.create(name="silence", text="Тишина", ended_at=now)
    Pipeline.objects.create(pipeline_id=10418746, name="Экспресс-курс", product="Курс «AI»")
    sale = make_sale(31, targetologist=kenesary, matched_rule=AttributionRule.objects.first())
    make_sale(32, sale_amount=None)
    author = User.objects.create_user("автор")
    SaleOverride.objects.create(
        lead_id=31, action="assign", targetologist=kenesary, reason="Клиент назвал объявление", author=author
    )
    version = RuleVersion.objects.get(pk=current_rulebook().version or 0)
    done = ReattributionRun.objects.create(
        first_day=now, last_day=now, version=version, author=author, state="done", moved=1
    )
    ReattributionMove.objects.create(
        run=done, lead_id=31, won=True, before=["unknown", None], after=["targetologist", "kenesary"]
    )
    make_sale(33, state="reversed")
    for status in SalesNotification.Status.values:
        SalesNotification.objects.create(
            lead_id=sale.lead_id,
            win_number=SalesNotification.Status.values.index(status),
            chat=chat,
            sale_date=now,
            notification_status=status,
        )
    AdSpend.objects.create(date=now.date(), targetologist=kenesary, campaign="tripwire_17.12", amount=25_000)
    known = Referrer.objects.create(code="ref_known", name="Дана", claimed=True)
    conversion = make_conversion(31, known)
    LandingPage.objects.create(title="Курс", url="https://example.kz/course")
    own_chat = TelegramChat.objects.create(chat_id=7, title="Дана", kind=TelegramChat.Kind.REFERRER)
    LinkedChat.objects.create(referrer=known, chat=own_chat)
    CabinetMessage.objects.create(
        referrer=known, chat=own_chat, kind=CabinetMessage.Kind.ACCRUAL, earning=conversion.earnings.get()
    )
    AccessEvent.objects.create(referrer=known, kind=AccessEvent.Kind.SIGNED_IN)
    boss = User.objects.create_user("кассир")
    BankDetails.objects.create(referrer=known, recipient="Дана Тестова", account="+77010000001")
    PayoutBatch.objects.create(cutoff=timezone.localdate(), minimum=5000, created_by=boss)
    batch = PayoutBatch.objects.create(cutoff=timezone.localdate(), minimum=5000, created_by=boss)
    payout = Payout.objects.create(batch=batch, referrer=known, amount=5000, recipient="Дана Тестова", account="+7")
    PayoutItem.objects.create(payout=payout, earning=conversion.earnings.get(), amount=5000)
    PayoutBatch.objects.update(state="confirmed", confirmed_at=now)
    PayoutEvent.objects.create(batch=batch, payout=payout, kind="confirmed", by=boss)
    LedgerCheck.objects.create(seconds=0.1, wrong=0, findings={})
    make_conversion(32, Referrer.objects.create(code="ref_nobody"), state="reversed")
    make_conversion(33, Referrer.objects.create(code="ref_left", claimed=True, active=False), sale_amount=None)
    ReferrerGroup.objects.create(name="Блогеры")
    assert CommissionPlan.objects.exists()
