"""The texts of traffic's Telegram messages: HTML, in the installation's language, everything from outside escaped."""

from __future__ import annotations

from django.conf import settings
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from notifications.format import quoted
from onai_project.money import money
from traffic.models import Sale, SaleFields, SalesNotification


def sale_message(notification: SalesNotification) -> str:
    """Return the congratulation for a won deal, ≤ 4096 characters, from the sale as it stands now.

    No customer's name or phone: these are group chats. Without a sale the notification's own columns speak.
    """
    sale = Sale.objects.filter(lead_id=notification.lead_id).select_related("targetologist").first()
    facts: SaleFields = sale or notification
    with translation.override(settings.LANGUAGE_CODE):
        lines = [
            f"🎉 <b>{_('New sale')}</b>",
            "",
            f"{_('Targetologist')}: <b>{quoted(_whose(facts, sale))}</b>",
            f"{_('Deal')}: {quoted(facts.lead_name) or '—'}",
            f"{_('Amount')}: <b>{money(facts.sale_amount)}</b>",
            f"{_('Campaign')}: {quoted(facts.utm_campaign) or '—'}",
            f"{_('Source')}: {quoted(facts.utm_source) or '—'}",
            f"{_('Medium')}: {quoted(facts.utm_medium) or '—'}",
            f"{_('Sale date')}: {_almaty(facts)}",
            "",
            _link(f"{settings.AMOCRM_BASE_URL}/leads/detail/{facts.lead_id}", _("Deal in AmoCRM")),
        ]
        if sale is not None:
            address = settings.SITE_URL + reverse("admin:traffic_sale_change", args=[sale.pk])
            lines.append(_link(address, _("Sale in the dashboard")))
    return "\n".join(lines)


def _whose(facts: SaleFields, sale: Sale | None) -> str:
    if facts.targetologist is not None:
        return str(facts.targetologist)
    channel = Sale.Channel(sale.channel) if sale is not None else Sale.Channel.UNKNOWN
    return str(channel.label)


def _almaty(facts: SaleFields) -> str:
    return timezone.localtime(facts.sale_date, timezone.get_default_timezone()).strftime("%d.%m.%Y %H:%M")


def _link(address: str, title: str) -> str:
    return f'<a href="{quoted(address)}">{quoted(title)}</a>'
