"""The texts of the messages to referrers: Telegram HTML, in the installation's language, everything escaped."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlencode

from django.conf import settings
from django.urls import reverse
from django.utils import translation
from django.utils.translation import gettext as _

from notifications.format import quoted
from onai_project.money import money
from referrals.cabinet import links, selectors, wording
from referrals.cabinet.models import CabinetMessage, LinkedChat, OneTimeToken
from referrals.cabinet.news import amount_standing
from referrals.cabinet.tokens import token_issue
from referrals.models import Earning, Referrer
from referrals.payouts.accounts import masked_account

Kind = CabinetMessage.Kind
Status = CabinetMessage.Status


def text_of(message: CabinetMessage) -> str:
    """Return the message as things stand now, ≤ 4096 characters. No customer's name: masked, as in the cabinet.

    Empty where nothing is left to tell, or the chat is this referrer's no more.
    """
    if message.referrer_id is not None and not _is_linked(message):
        return ""
    with translation.override(settings.LANGUAGE_CODE):
        if message.kind == Kind.ACCRUAL:
            return _accrual(message)
        if message.kind == Kind.REVERSAL:
            return _reversal(message)
        if message.kind == Kind.PAYOUT:
            return _payout(message)
        if message.kind == Kind.HINT or message.referrer is None:
            return _hint(message.referrer)
        if message.kind == Kind.SIGN_IN and _is_replaced(message):
            return ""
        return _ANSWERS[Kind(message.kind)](message.referrer)


def _is_linked(message: CabinetMessage) -> bool:
    return LinkedChat.objects.filter(chat=message.chat_id, referrer=message.referrer_id).exists()


def _is_replaced(message: CabinetMessage) -> bool:
    """Tell whether a later sign-in link goes to the same chat: it would kill this one, perhaps in the same message."""
    later = CabinetMessage.objects.filter(
        chat=message.chat_id, referrer=message.referrer_id, kind=Kind.SIGN_IN, pk__gt=message.pk
    )
    return later.filter(notification_status__in=[Status.PENDING, Status.SENDING]).exists()


def _accrual(message: CabinetMessage) -> str:
    entry = _entry(message)
    amount = amount_standing(message)
    if amount <= 0:
        return ""
    conversion = entry.conversion
    lines = [
        "🎉 " + _bold(_("A new commission"), money(amount)),
        "",
        _line(_("Sale"), _sale(entry)),
        _line(_("Amount"), money(conversion.sale_amount)),
    ]
    if conversion.hold_reason:
        lines.append(quoted(wording.hold_sentence(conversion.hold_reason)))
    else:
        lines.append(_("Available from %(day)s") % {"day": f"<b>{wording.day(conversion.available_at)}</b>"})
    return "\n".join([*lines, "", _cabinet()])


def _reversal(message: CabinetMessage) -> str:
    entry = _entry(message)
    lines = [
        _bold(_("A commission was taken back"), money(entry.amount)),
        "",
        _line(_("Sale"), _sale(entry)),
        _line(_("Reason"), quoted(wording.entry_reason(entry))),
    ]
    return "\n".join([*lines, "", _cabinet()])


def _payout(message: CabinetMessage) -> str:
    payout = message.payout
    assert payout is not None  # a constraint of the table
    statement = settings.SITE_URL + reverse("cabinet:payout", args=[payout.pk])
    lines = [
        "💸 " + _bold(_("Paid to you"), money(payout.amount)),
        "",
        _line(_("Payout"), str(payout)),
        _line(_("Transferred on"), wording.date_text(payout.paid_on) if payout.paid_on else "—"),
        _line(_("To the account"), quoted(masked_account(payout.account))),
    ]
    return "\n".join([*lines, "", _link(statement, _("What it consists of"))])


def _sign_in(referrer: Referrer) -> str:
    # Made here, when it is sent, so that no table ever holds it.
    token = token_issue(referrer=referrer, purpose=OneTimeToken.Purpose.SIGN_IN)
    return "\n".join(
        [
            _link(sign_in_url(token), _("Open your cabinet")),
            "",
            _("The link works once, for 15 minutes. If you did not ask for it, just leave it alone."),
        ]
    )


def sign_in_url(token: str) -> str:
    """Return the address of a one-time link."""
    return f"{settings.SITE_URL}{reverse('cabinet:open')}?{urlencode({'t': token})}"


def _start(referrer: Referrer) -> str:
    return "\n".join([_("Messages are on: new commissions, commissions taken back, payouts."), "", _commands()])


def _linked(referrer: Referrer) -> str:
    hello = _("Hello, %(name)s! This chat is linked with your cabinet now.") % {"name": quoted(str(referrer))}
    return "\n".join([hello, "", _commands()])


def _balance(referrer: Referrer) -> str:
    balance = selectors.select_balance(referrer)
    why = selectors.select_why(referrer)
    lines = [
        _bold(_("To be paid"), money(balance.available)),
        _line(_("Waiting"), money(balance.waiting)),
        _line(_("Held back"), money(balance.hold)),
        *([_line(_("On its way"), money(balance.in_payout))] if balance.in_payout else []),
        *([_line(_("Not arrived"), money(balance.failed))] if balance.failed else []),
        _line(_("Paid"), money(balance.paid)),
        "",
        quoted(wording.balance_sentence(balance, why)),
        "",
        _cabinet(),
    ]
    return "\n".join(lines)


def _links(referrer: Referrer) -> str:
    found = links.links_of(referrer)
    if not found:
        return _("Your manager has not entered any page to pass on yet.")
    return "\n\n".join(f"<b>{quoted(link.title)}</b>\n{quoted(link.url)}" for link in found[:10])


def _stop(referrer: Referrer) -> str:
    return _("Messages are off. /start switches them on again; sign-in links still come here.")


def _hint(referrer: Referrer | None) -> str:
    if referrer is None:
        return "\n".join(
            [
                _("Hello! I tell referrers of onAI Academy about their commissions."),
                _("To link this chat, open your cabinet, then Settings, then Link Telegram:"),
                _cabinet(),
            ]
        )
    return _commands()


def _commands() -> str:
    return "\n".join(
        [
            "/balance — " + _("how much you have earned"),
            "/link — " + _("your links"),
            "/stop — " + _("no more messages"),
            "/start — " + _("messages again"),
            "",
            _cabinet(),
        ]
    )


def _cabinet() -> str:
    return _link(settings.SITE_URL + reverse("cabinet:home"), _("Your cabinet"))


def _link(address: str, title: str) -> str:
    return f'<a href="{quoted(address)}">{title}</a>'


def _line(title: str, text: str) -> str:
    return f"{title}: {text}"


def _bold(title: str, text: str) -> str:
    return f"<b>{title}: {text}</b>"


def _sale(entry: Earning) -> str:
    which = f"№ {entry.conversion.lead_id} {quoted(selectors.masked(entry.conversion.lead_name))}".strip()
    return f"{which}, {wording.day(entry.conversion.sale_date)}"


def _entry(message: CabinetMessage) -> Earning:
    assert message.earning_id is not None  # a constraint of the table
    return Earning.objects.select_related("conversion").get(pk=message.earning_id)


_ANSWERS: dict[Kind, Callable[[Referrer], str]] = {
    Kind.SIGN_IN: _sign_in,
    Kind.START: _start,
    Kind.LINKED: _linked,
    Kind.BALANCE: _balance,
    Kind.LINKS: _links,
    Kind.STOP: _stop,
}
