"""The texts of traffic's Telegram messages: HTML, in the installation's language, everything from outside escaped.

No customer's name or phone, and so no deal's name, which often holds them: these are group chats.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.conf import settings
from django.db.models import Q, QuerySet
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from notifications.format import link, quoted
from notifications.models import TelegramChat
from onai_project.links import deal_url
from onai_project.money import money
from onai_project.periods import Period, preset_period, today, zone
from traffic.decisions import BY_HAND
from traffic.figures import Totals
from traffic.models import Funnel, Sale, SaleFields, SalesNotification, Targetologist
from traffic.pipelines import product_name
from traffic.told import TELLINGS
from traffic.totals import sum_sales

Kind = SalesNotification.Kind
Status = SalesNotification.Status

# A chat with a message of one of these has heard of the sale, or may have.
HEARD = (Status.SENT, Status.UNCERTAIN, Status.CONSOLE)


def message(notification: SalesNotification) -> str:
    """Return the message, ≤ 4096 characters, from the sale as it stands now; "" where nothing is left to tell.

    Without a sale the notification's own columns speak.
    """
    sale = _sale(notification)
    if _is_stale(notification, sale):
        return ""
    facts: SaleFields = sale or notification
    with translation.override(settings.LANGUAGE_CODE):
        if notification.kind == Kind.TAKEN_BACK:
            return _brief(_title("↩️", _("Sale taken back"), money(facts.sale_amount)), notification, facts, sale)
        if notification.kind == Kind.RESTORED:
            return _brief(_title("✅", _("Sale restored"), money(facts.sale_amount)), notification, facts, sale)
        return _sold(facts, sale) if _owner(facts, sale) else _ownerless(facts, sale)


def line(notification: SalesNotification) -> str:
    """Return the message in a line of a combined one; "" as `message`."""
    sale = _sale(notification)
    if _is_stale(notification, sale):
        return ""
    facts: SaleFields = sale or notification
    with translation.override(settings.LANGUAGE_CODE):
        owner = _owner(facts, sale)
        whose = [quoted(owner) if owner else link(queue_url(), _("without a targetologist"))]
        sign, what = "🎉" if owner else "❓", []
        if _is_anothers(notification, facts):
            whose = []
        if notification.kind == Kind.TAKEN_BACK:
            sign, what = "↩️", [quoted(_("taken back"))]
        elif notification.kind == Kind.RESTORED:
            sign, what = "✅", [quoted(_("restored"))]
        campaign = [quoted(facts.utm_campaign, 100)] if facts.utm_campaign else []
        amount, deal = f"<b>{money(facts.sale_amount)}</b>", link(deal_url(facts.lead_id), _number(facts))
        parts = [amount, *what, *whose, *campaign, deal]
        return f"{sign} {' · '.join(parts)}"


def read_sales(notifications: Sequence[SalesNotification]) -> None:
    """Read the sales of these messages, for the text that each is asked for next."""
    sales = Sale.objects.filter(lead_id__in={notification.lead_id for notification in notifications})
    found = {sale.lead_id: sale for sale in sales.select_related("targetologist", "matched_rule")}
    for notification in notifications:
        notification.sale_read = found.get(notification.lead_id)


def heading(count: int) -> str:
    """Return what stands above the lines of `count` messages."""
    with translation.override(settings.LANGUAGE_CODE):
        return _title("🔔", _("News of sales"), str(count))


def original_in(notification: SalesNotification, chat_id: int) -> int | None:
    """Return the number, in that chat, of the message that told of the sale which this one takes back or restores."""
    if notification.kind == Kind.SALE:
        return None
    originals = _others(notification, Kind.SALE).filter(win_number__lte=notification.win_number)
    last = originals.filter(telegram_chat_id=chat_id).order_by("-win_number")
    return last.values_list("telegram_message_id", flat=True).first()


def queue_url() -> str:
    """Return the address of the sales that nobody has."""
    return settings.SITE_URL + reverse("traffic-unattributed")


def count_and_sum(totals: Totals) -> str:
    """Return "3 sales, 300 000 ₸" in the language of the moment."""
    count = ngettext("%(count)d sale", "%(count)d sales", totals.sales) % {"count": totals.sales}
    return f"{count}, {money(totals.revenue)}"


def _sold(facts: SaleFields, sale: Sale | None) -> str:
    return "\n".join(
        [
            _title("🎉", _("New sale"), money(facts.sale_amount)),
            "",
            _fact(_("Targetologist"), f"<b>{quoted(_owner(facts, sale))}</b>"),
            *_facts(facts, sale),
            *([_fact(_("Why"), quoted(_why(sale)))] if sale is not None and sale.targetologist else []),
            *_sums(facts.targetologist),
            "",
            *_links(facts, sale),
        ]
    )


def _ownerless(facts: SaleFields, sale: Sale | None) -> str:
    return "\n".join(
        [
            _title("❓", _("Sale without a targetologist"), money(facts.sale_amount)),
            "",
            *_facts(facts, sale),
            _fact(_("Medium"), quoted(facts.utm_medium) or "—"),
            "",
            quoted(_("No rule matched. Say whose it is:")),
            link(queue_url(), _("The queue of sales without a targetologist")),
            *_links(facts, sale),
        ]
    )


def _brief(title: str, notification: SalesNotification, facts: SaleFields, sale: Sale | None) -> str:
    """Return what answers the original, which says the rest; in a targetologist's own chat only what is theirs."""
    if _is_anothers(notification, facts):
        owner, sums = "", [line for person in _people_of(notification)[:1] for line in _sums(person)]
    else:
        owner, sums = _owner(facts, sale), _sums(facts.targetologist)
    return "\n".join(
        [
            title,
            "",
            *([_fact(_("Targetologist"), f"<b>{quoted(owner)}</b>")] if owner else []),
            *(sums if owner else sums[1:]),
            *([""] if owner or sums else []),
            *_links(facts, sale),
        ]
    )


def _facts(facts: SaleFields, sale: Sale | None) -> list[str]:
    lines = [
        *([_fact(_("Product"), quoted(_product(sale)))] if sale is not None else []),
        _fact(_("Campaign"), quoted(facts.utm_campaign) or "—"),
        _fact(_("Source"), quoted(facts.utm_source) or "—"),
    ]
    when = timezone.localtime(facts.sale_date, zone())
    return lines if when.date() == today() else [*lines, _fact(_("Sale date"), when.strftime("%d.%m.%Y %H:%M"))]


def _sums(owner: Targetologist | None) -> list[str]:
    """Return what this targetologist sold today and this month, the sale of the message included."""
    if owner is None:
        return []
    won = Sale.objects.filter(state=Sale.State.WON, targetologist=owner)
    day, month = Period(today(), today()), preset_period("month", today())
    return [
        "",
        _fact(_("Today"), count_and_sum(sum_sales(won, day))),
        _fact(_("This month"), count_and_sum(sum_sales(won, month))),
    ]


def _links(facts: SaleFields, sale: Sale | None) -> list[str]:
    lines = [link(deal_url(facts.lead_id), " ".join([_("Deal in AmoCRM"), _number(facts)]))]
    if sale is not None:
        address = settings.SITE_URL + reverse("admin:traffic_sale_change", args=[sale.pk])
        lines.append(link(address, _("Sale in the dashboard")))
    return lines


def _product(sale: Sale) -> str:
    """Return what the sale's pipeline sells, as entered in the admin; where nothing is, the funnel."""
    if product := product_name(sale.pipeline_id):
        return product
    return Funnel.objects.filter(pk=sale.funnel_type).values_list("name", flat=True).first() or sale.funnel_type


def _why(sale: Sale) -> str:
    """Return by which rule a sale is somebody's, as it was found then, or that a person said so."""
    if sale.matched_field == BY_HAND:
        return _("assigned by hand")
    if sale.matched_rule is not None:
        return f"{sale.matched_field} {sale.matched_rule.get_match_display()} «{sale.matched_text}»"
    return f"{sale.matched_field} «{sale.matched_text}»"


def _owner(facts: SaleFields, sale: Sale | None) -> str:
    """Return whose sale it is: a targetologist, or the referrers; "" where it is nobody's."""
    if facts.targetologist is not None:
        return str(facts.targetologist)
    return str(Sale.Channel.REFERRAL.label) if sale is not None and sale.channel == Sale.Channel.REFERRAL else ""


def _sale(notification: SalesNotification) -> Sale | None:
    if not hasattr(notification, "sale_read"):
        read_sales([notification])
    sale: Sale | None = notification.__dict__.pop("sale_read")
    return sale


def _is_stale(notification: SalesNotification, sale: Sale | None) -> bool:
    """Return whether a message is overtaken: by a sale taken back, restored or another's since, or by an earlier
    message's failure.
    """
    is_won = sale is None or sale.state == Sale.State.WON
    number = notification.win_number
    if notification.kind == Kind.TAKEN_BACK:
        if sale is not None and is_won:
            later = Q(kind=Kind.RESTORED) | Q(kind=Kind.SALE, notification_status__in=HEARD)
            others = _others(notification, *TELLINGS).filter(later, win_number__gt=number)
            if sale.sale_date == notification.sale_date or others.exists():
                return True
        heard = _others(notification, *TELLINGS).filter(win_number=number)
        return not heard.filter(notification_status__in=HEARD).exists()
    if not is_won or _is_anothers(notification, sale or notification):
        return True
    if notification.kind == Kind.SALE:
        return False
    back = _others(notification, Kind.TAKEN_BACK).filter(win_number__lt=number).order_by("-win_number").first()
    return back is None or back.notification_status not in HEARD


def _others(notification: SalesNotification, *kinds: str) -> QuerySet[SalesNotification]:
    """Return the messages of these kinds about the same deal to the same chat."""
    return SalesNotification.objects.filter(lead_id=notification.lead_id, chat=notification.chat_id, kind__in=kinds)


def _is_anothers(notification: SalesNotification, facts: SaleFields) -> bool:
    """Return whether the chat is targetologists' own, and the sale is none of theirs."""
    people = _people_of(notification)
    return bool(people) and facts.targetologist not in people


def _people_of(notification: SalesNotification) -> list[Targetologist]:
    """Return whose own chat a message goes to; nobody's where it is everybody's or the administrators'."""
    chat = notification.chat
    if chat is None or chat.kind != TelegramChat.Kind.TARGETOLOGIST:
        return []
    return list(Targetologist.objects.filter(chat=chat))


def _number(facts: SaleFields) -> str:
    return f"№ {facts.lead_id}"


def _title(sign: str, text: str, value: str) -> str:
    return f"{sign} <b>{quoted(text)}: {value}</b>"


def _fact(title: str, text: str) -> str:
    return f"{quoted(title)}: {text}"
