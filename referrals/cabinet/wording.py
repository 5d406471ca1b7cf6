"""The sentences that tell a referrer where their money is. One place, for the pages, the CSV and the bot."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache

from django.conf import settings
from django.utils.formats import date_format
from django.utils.translation import get_language, gettext_lazy, ngettext
from django.utils.translation import gettext as _

from onai_project.money import money
from onai_project.periods import zone
from onai_project.stored_reasons import reason_text
from referrals.cabinet.selectors import Balance, Sale, Terms
from referrals.commissions import TIERS, Plan, tier
from referrals.models import Conversion, Earning
from referrals.payouts.accounts import masked_account
from referrals.payouts.models import Payout
from referrals.payouts.preview import Why
from referrals.plan_text import TIER_NAMES, rate_text
from referrals.status import lower_first

_TITLES = {
    "hold": gettext_lazy("Held back"),
    "waiting": gettext_lazy("Waiting"),
    "available": gettext_lazy("To be paid"),
    "reversed": gettext_lazy("Taken back"),
    "nothing": gettext_lazy("Earns nothing"),
    "unknown": gettext_lazy("Being checked"),
    "failed": gettext_lazy("Not arrived"),
    "in_payout": gettext_lazy("Being paid"),
    "paid": gettext_lazy("Paid"),
}


def day(moment: datetime) -> str:
    """Return a business day as people say it: 21 December 2025."""
    return date_text(moment.astimezone(zone()).date())


def date_text(value: date) -> str:
    """Return a date as people say it: 21 December 2025."""
    return _date_text(value, get_language())


@lru_cache(maxsize=2048)
def _date_text(value: date, language: str) -> str:
    """Return it in a language: a table of ten thousand sales has a few hundred days."""
    return date_format(value, "j E Y")


def status_title(status: str) -> str:
    """Return the word of a status, for a badge."""
    return str(_TITLES[status])


def status_sentence(sale: Sale, why: Why = Why.PAID) -> str:
    """Return where this commission is, and if it is not paid, why: part by part where the parts are in several places.

    `why`: what a batch would pass the referrer over for (selectors.select_why).
    """
    if sale.status in ("reversed", "nothing"):
        return _gone_sentence(sale)
    if sale.status == "unknown":
        return _("The amount of the purchase is being checked; the commission appears when it is known.")
    parts = [
        (sale.paid, _paid_sentence),
        (sale.failed, _failed_sentence),
        (sale.moving, _moving_sentence),
        (sale.open, lambda sale: _open_sentence(sale, why)),
    ]
    told = [(amount, sentence(sale)) for amount, sentence in parts if amount > 0]
    if len(told) > 1:
        sentences = [f"{money(amount)} — {lower_first(sentence)}" for amount, sentence in told]
    else:
        sentences = [sentence for _amount, sentence in told]
    if sale.open < 0:
        sentences.append(
            _("Of it %(sum)s was taken back later and will be deducted from your next payout.")
            % {"sum": money(-sale.open)}
        )
    elif sale.deducted_in is not None and sale.deducted_in > (sale.paid_in or sale.deducted_in):
        sentences.append(
            _("A part of it was taken back later: deducted in payout № %(number)s.") % {"number": sale.deducted_in}
        )
    return " ".join(sentences)


def _paid_sentence(sale: Sale) -> str:
    day = date_text(sale.paid_on) if sale.paid_on else "—"
    return _("Paid on %(day)s, payout № %(number)s.") % {"day": day, "number": sale.paid_in}


def _moving_sentence(sale: Sale) -> str:
    return _("In payout № %(number)s: the money is on its way.") % {"number": sale.moving_in}


def _failed_sentence(sale: Sale) -> str:
    refused = _("The bank did not transfer payout № %(number)s: %(reason)s.") % {
        "number": sale.failed_in,
        "reason": sale.failure.rstrip("."),
    }
    return f"{refused} {_again()}"


def _again() -> str:
    return _("Your manager sends it again or lets it go into another payout.")


def _open_sentence(sale: Sale, why: Why) -> str:
    if sale.open_status == "hold":
        return hold_sentence(sale.hold)
    if sale.open_status == "waiting":
        return _("Becomes available on %(day)s: until then the customer may return the purchase.") % {
            "day": day(sale.available_at)
        }
    return unpaid_sentence(why) or _("Goes into the next payout.")


def _gone_sentence(sale: Sale) -> str:
    last = sale.entries[-1] if sale.entries else None
    if last is None:
        return _nothing_sentence(sale)
    gone = _("Taken back on %(day)s: %(reason)s.") % {"day": day(last.created_at), "reason": entry_reason(last)}
    if sale.open < 0:
        words = {"sum": money(-sale.open), "number": sale.failed_in or sale.moving_in}
        if sale.paid > 0:
            return f"{gone} " + _("It was paid already: %(sum)s will be deducted from your next payout.") % words
        return (
            f"{gone} "
            + _(
                "It is in payout № %(number)s, which has not reached you yet; once it has, %(sum)s will be deducted "
                "from your next payout."
            )
            % words
        )
    if sale.deducted_in is not None:
        return f"{gone} " + _("Deducted in payout № %(number)s.") % {"number": sale.deducted_in}
    return gone


def _nothing_sentence(sale: Sale) -> str:
    """Return why a sale never earned anything."""
    if sale.rejected:
        return _("Your manager rejected it: %(reason)s.") % {"reason": reason_text(sale.rejected).rstrip(".")}
    if sale.status != "nothing":
        return _("The purchase was cancelled before anything was earned.")
    if sale.plan is None:
        return _("No terms were entered for the day of this sale. Please ask your manager.")
    if sale.plan.first_sale_only:
        return _("This customer bought before: by your terms only a customer's first sale earns.")
    return _("By your terms this sale earns nothing.")


def payout_title(payout: Payout) -> str:
    """Return the word of a payout's state, for a badge."""
    return {
        Payout.State.CONFIRMED: _("On its way"),
        Payout.State.PAID: _("Paid"),
        Payout.State.FAILED: _("Not arrived"),
    }.get(Payout.State(payout.state), str(payout.get_state_display()))


def payout_sentence(payout: Payout) -> str:
    """Return where a payout is."""
    account = masked_account(payout.account)
    if payout.paid_on is not None:
        return _("Transferred on %(day)s to the account %(account)s.") % {
            "day": date_text(payout.paid_on),
            "account": account,
        }
    if payout.state == Payout.State.FAILED:
        return _("The bank did not transfer it: %(reason)s. Please write to your manager.") % {
            "reason": payout.reason.rstrip(".")
        }
    return _("Is being transferred to the account %(account)s.") % {"account": account}


def hold_sentence(hold: str) -> str:
    """Return why a commission is held back, and what helps."""
    if hold == Conversion.Hold.UNCLAIMED:
        return _("Held back until your manager confirms that this code is yours. Please write to them.")
    if hold == Conversion.Hold.INACTIVE:
        return _("Held back because your participation is paused. Please write to your manager.")
    if hold == Conversion.Hold.SELF_REFERRAL:
        return _("Held back: it looks like your own purchase. Your manager is checking it.")
    if hold == Conversion.Hold.AD_CAMPAIGN:
        return _("Held back: the customer also came by our advertising. Your manager is checking it.")
    return _("Held back while your manager checks this sale.")


def entry_reason(entry: Earning) -> str:
    """Return why an entry was made, in the reader's language and without a full stop."""
    return reason_text(entry.reason).rstrip(".")


def unpaid_sentence(why: Why) -> str:
    """Return why what is available does not go into the next payout, and what helps; "" where it does."""
    match why:
        case Why.UNCLAIMED:
            return hold_sentence(Conversion.Hold.UNCLAIMED)
        case Why.INACTIVE:
            return hold_sentence(Conversion.Hold.INACTIVE)
        case Why.MINIMUM:
            return _("Payouts begin at %(sum)s: it is paid as soon as that much has come together.") % {
                "sum": money(Decimal(settings.REFERRAL_PAYOUT_MINIMUM))
            }
        case Why.NO_DETAILS:
            return _("Your bank details are missing: tell them to your manager, and it goes into the next payout.")
        case Why.OWES | Why.HELD | Why.WAITING:
            return _("It makes up for what was taken back after a payout.")
    return ""


def balance_sentence(balance: Balance, why: Why = Why.PAID) -> str:
    """Return what a referrer wants to know first. `why`: what a batch would pass them over for."""
    if not balance.failed:
        return _balance_sentence(balance, why)
    refused = _("The bank did not transfer %(sum)s: %(reason)s.") % {
        "sum": money(balance.failed),
        "reason": balance.failure.rstrip("."),
    }
    rest = f" {_balance_sentence(balance, why)}" if balance.available or balance.in_payout > 0 else ""
    return f"{refused} {_again()}{rest}"


def _balance_sentence(balance: Balance, why: Why) -> str:
    if balance.available < 0:
        return _("More was taken back than is to be paid: %(sum)s will be deducted from your next payouts.") % {
            "sum": money(-balance.available)
        }
    if balance.available:
        return unpaid_sentence(why) or _("Ready to be paid. It goes into the next payout, you need to do nothing.")
    if balance.in_payout > 0:
        return _("%(sum)s is on its way to you.") % {"sum": money(balance.in_payout)}
    if balance.next_at is not None:
        return _("%(sum)s will become available on %(day)s.") % {
            "sum": money(balance.next_amount),
            "day": day(balance.next_at),
        }
    if balance.hold:
        return _("Your commissions are held back for now; below you see why.")
    return _("Pass on your link: the first sale will show up here by itself.")


def terms_sentence(terms: Terms) -> str:
    """Return what a sale earns today."""
    plan = terms.plan
    if plan is None:
        return _("No terms are entered for today yet. Please ask your manager.")
    if plan.value is None:
        sentences = [_("The more sales in a month, the more each of them earns: %(tiers)s.") % {"tiers": _tiers(plan)}]
    else:
        sentences = [_("%(rate)s for every sale by your link.") % {"rate": rate_text(plan, plan.value)}]
    if plan.cap is not None:
        sentences.append(_("At most %(sum)s for one sale.") % {"sum": money(plan.cap)})
    if plan.first_sale_only:
        sentences.append(_("Of a customer's sales the first one earns."))
    return " ".join(sentences)


def tier_sentence(terms: Terms) -> str:
    """Return which rate this month's sales have reached, and how many more reach the next; "" without tiers."""
    plan = terms.plan
    if plan is None or plan.value is not None:
        return ""
    reached = tier(terms.won_in_month)
    now = _("Each sale of this month earns %(rate)s.") % {"rate": rate_text(plan, plan.rates[reached])}
    if reached + 1 == len(TIERS):
        return now
    missing = TIERS[reached + 1] - terms.won_in_month
    more = ngettext("%(n)s more sale, and each earns %(rate)s.", "%(n)s more sales, and each earns %(rate)s.", missing)
    return f"{now} " + more % {"n": missing, "rate": rate_text(plan, plan.rates[reached + 1])}


def _tiers(plan: Plan) -> str:
    return "; ".join(f"{name} — {rate_text(plan, rate)}" for name, rate in zip(TIER_NAMES, plan.rates, strict=True))


def month_sentence(terms: Terms) -> str:
    """Return how many sales this month has."""
    if not terms.won_in_month:
        return _("No sales this month yet.")
    return ngettext("%(count)s sale this month.", "%(count)s sales this month.", terms.won_in_month) % {
        "count": terms.won_in_month
    }
