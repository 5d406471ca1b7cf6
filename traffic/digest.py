"""Digests of a day or a week: what they say, and which are due."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal

from django.conf import settings
from django.db import transaction
from django.db.models import Count, QuerySet, Sum
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from notifications.chats import common_chat
from notifications.format import link, quoted
from notifications.models import TelegramChat
from onai_project.periods import Period, previous_period, zone
from traffic.digest_models import Digest, DigestKind, DigestSchedule
from traffic.figures import Totals
from traffic.messages import count_and_sum, queue_url
from traffic.models import Sale, Targetologist
from traffic.totals import sum_sales

# What an outage kept from being sent is sent late, but not later than this: older figures are on the dashboard.
LATE = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class DigestFacts:
    """The won sales of a period. `ranking`, `unattributed` and `referrals` together are `totals`."""

    period: Period
    totals: Totals
    before: Totals
    ranking: list[tuple[str, Totals]]
    unattributed: Totals
    referrals: Totals


def digest_period(kind: str, day: date) -> Period:
    """Return the day, or the week from this Monday on."""
    return Period(day, day + timedelta(days=6 if kind == DigestKind.WEEKLY else 0))


def latest_date(kind: str, today: date) -> date:
    """Return the `date` of the last digest of this kind whose period is over on the day `today`."""
    if kind == DigestKind.WEEKLY:
        return today - timedelta(days=today.weekday() + 7)
    return today - timedelta(days=1)


def due_dates(schedule: DigestSchedule, now: datetime) -> list[date]:
    """Return the dates of the digests that should have been sent by `now`, the oldest first, of the last LATE. Pure.

    What was due before the schedule began is not among them.
    """
    today = now.astimezone(zone()).date()
    step = timedelta(days=7 if schedule.kind == DigestKind.WEEKLY else 1)
    day = latest_date(schedule.kind, today)
    found = []
    while (due := _due_at(schedule, day)) > max(now - LATE, schedule.since):
        if due <= now:
            found.append(day)
        day -= step
    return sorted(found)


def write_due_digests(*, now: datetime | None = None) -> int:
    """Put every digest that is due and not there yet into the outbox; return how many. Safe at once and often."""
    now = now or timezone.now()
    schedules = DigestSchedule.objects.filter(active=True).select_related("chat")
    wanted = [
        (schedule, day)
        for schedule in schedules
        if schedule.chat is None or schedule.chat.active or schedule.chat.disabled_reason
        for day in due_dates(schedule, now)
    ]
    return sum(write_digest(kind=schedule.kind, date=day, chat=schedule.chat) for schedule, day in wanted)


def write_digest(*, kind: str, date: date, chat: TelegramChat | None) -> bool:
    """Put one digest into the outbox; tell whether it was not there yet.

    The common chat is one chat, whether a schedule names it or leaves it empty.
    """
    common = common_chat()
    if chat is None or chat == common:
        if common is not None and Digest.objects.filter(kind=kind, date=date, chat=common).exists():
            return False  # written before `common` became the common one
        chat = None
    _digest, created = Digest.objects.get_or_create(kind=kind, date=date, chat=chat)
    return created


def save_schedule(*, schedule: DigestSchedule) -> None:
    """Save what a person entered. What was due before it was switched on, or for another chat, is not sent late."""
    with transaction.atomic():
        before = DigestSchedule.objects.select_for_update(of=("self",)).filter(pk=schedule.pk).first()
        schedule.since = before.since if before is not None else timezone.now()
        if before is not None and (not before.active or before.chat_id != schedule.chat_id):
            schedule.since = timezone.now()
        schedule.save()


def select_facts(period: Period) -> DigestFacts:
    """Return what a digest says of a period, counted as the dashboard counts."""
    groups: dict[str | None, Totals] = {}
    referrals = Totals()
    won = _won().filter(sale_date__gte=period.start, sale_date__lt=period.end)
    rows = won.values("channel", "targetologist_id").order_by()
    for row in rows.annotate(sales=Count("pk"), priced=Count("sale_amount"), known=Sum("sale_amount")):
        totals = Totals(row["sales"], row["known"] or Decimal(0), row["sales"] - row["priced"])
        if row["channel"] == Sale.Channel.REFERRAL:
            referrals += totals
        else:
            groups[row["targetologist_id"]] = groups.get(row["targetologist_id"], Totals()) + totals
    unattributed = groups.pop(None, Totals())
    people = [(str(person), groups[person.slug]) for person in Targetologist.objects.filter(slug__in=groups)]
    return DigestFacts(
        period=period,
        totals=sum(groups.values(), unattributed + referrals),
        before=sum_sales(_won(), previous_period(period, period.last)),
        ranking=sorted(people, key=lambda line: (-line[1].known, -line[1].sales)),
        unattributed=unattributed,
        referrals=referrals,
    )


def digest_text(*, kind: str, date: date) -> str:
    """Return the digest as Telegram HTML, in the installation's language; one line where nothing was sold."""
    facts = select_facts(digest_period(kind, date))
    with translation.override(settings.LANGUAGE_CODE):
        title = f"📊 <b>{quoted(_title(kind, facts.period))}</b>"
        if not facts.totals.sales:
            return f"{title}: " + quoted(_("no sales"))
        before = _("The week before") if kind == DigestKind.WEEKLY else _("The day before")
        lines = [
            title,
            "",
            f"<b>{count_and_sum(facts.totals)}</b>{_change(facts)}",
            f"{quoted(before)}: {count_and_sum(facts.before)}",
        ]
        if facts.totals.without_amount:
            lines.append(_without_amount(facts.totals.without_amount))
        if facts.ranking:
            lines.append("")
        lines += [
            f"{place}. {quoted(name, 200)} — {count_and_sum(totals)}"
            for place, (name, totals) in enumerate(facts.ranking, start=1)
        ]
        if facts.referrals.sales or facts.unattributed.sales:
            lines.append("")
        if facts.referrals.sales:
            lines.append(f"{quoted(str(Sale.Channel.REFERRAL.label))} — {count_and_sum(facts.referrals)}")
        if facts.unattributed.sales:
            queue = link(queue_url(), _("Without a targetologist"))
            lines.append(f"❓ {queue} — {count_and_sum(facts.unattributed)}")
        query = f"?from={facts.period.first}&to={facts.period.last}"
        lines += ["", link(settings.SITE_URL + reverse("traffic-dashboard") + query, _("Traffic Dashboard"))]
        return "\n".join(lines)


def _due_at(schedule: DigestSchedule, day: date) -> datetime:
    """Return when the digest about `day`, or the week from `day` on, is to be sent."""
    after = digest_period(schedule.kind, day).last + timedelta(days=1)
    if schedule.kind == DigestKind.WEEKLY:
        after += timedelta(days=schedule.weekday)
    return datetime.combine(after, _minutes(schedule.at), tzinfo=zone())


def _minutes(at: time) -> time:
    return at.replace(second=0, microsecond=0)


def _won() -> QuerySet[Sale]:
    return Sale.objects.filter(state=Sale.State.WON)


def _title(kind: str, period: Period) -> str:
    first, last = period.first.strftime("%d.%m.%Y"), period.last.strftime("%d.%m.%Y")
    if kind == DigestKind.WEEKLY:
        return _("The week %(first)s to %(last)s") % {"first": first, "last": last}
    return _("The day %(day)s") % {"day": first}


def _change(facts: DigestFacts) -> str:
    """Return by how many per cent the sum changed: " (+20 %)"; "" where one of the two is nothing or not known."""
    now, before = facts.totals.revenue, facts.before.revenue
    if not now or not before:
        return ""
    percent = int(((now - before) * 100 / before).quantize(Decimal(1), ROUND_HALF_UP))
    return f" ({percent:+d} %)".replace("-", "−")


def _without_amount(count: int) -> str:
    text = ngettext("The amount of %(count)d is not known.", "The amounts of %(count)d are not known.", count)
    return quoted(text % {"count": count})
