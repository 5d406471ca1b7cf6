"""Why a commission waits, and what people decided of it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from referrals.commissions import NOTHING

# Conversion.Hold and Decision.Kind, as this module without Django knows them.
UNCLAIMED, INACTIVE, SELF_REFERRAL, AD_CAMPAIGN = "unclaimed", "inactive", "self_referral", "ad_campaign"
# What a person may release; the two others end with the referrer's record.
RELEASABLE = frozenset({SELF_REFERRAL, AD_CAMPAIGN})
RELEASE, REJECT, REOPEN, REFUND, CORRECTION = "release", "reject", "reopen", "refund", "correction"


class Person(NamedTuple):
    """How somebody can be reached, as it was typed."""

    phone: str = ""
    email: str = ""


@dataclass(frozen=True, slots=True)
class Decided:
    """One row of what was decided, the oldest first."""

    kind: str
    holds: tuple[str, ...] = ()
    amount: Decimal | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What all decisions on a conversion and its referrer add up to."""

    released: frozenset[str] = frozenset()
    rejected: str = ""  # why; "" when it is not
    refunded: Decimal = NOTHING  # of the sale's amount, to the customer
    corrected: Decimal = NOTHING  # of the commission


UNJUDGED = Judgement()


def judge(decisions: Iterable[Decided]) -> Judgement:
    """Return what decisions add up to."""
    released: set[str] = set()
    rejected, refunded, corrected = "", NOTHING, NOTHING
    for decision in decisions:
        match decision.kind:
            case "release":
                released |= RELEASABLE & set(decision.holds)
            case "reject":
                rejected = decision.reason
            case "reopen":
                rejected = ""
            case "refund":
                refunded += decision.amount or NOTHING
            case "correction":
                corrected += decision.amount or NOTHING
    return Judgement(frozenset(released), rejected, refunded, corrected)


def hold_reasons(*, claimed: bool, active: bool, self_referral: bool, campaign_owner: str) -> list[str]:
    """Return why what a conversion earns cannot be paid, the weightiest first; nothing when it can."""
    found = {
        UNCLAIMED: not claimed,
        INACTIVE: not active,
        SELF_REFERRAL: self_referral,
        AD_CAMPAIGN: bool(campaign_owner),
    }
    return [reason for reason, holds in found.items() if holds]


def is_same_person(one: Person, other: Person) -> bool:
    """Return whether two have the same phone or e-mail, however they are written."""
    phone, email = phone_key(one.phone), email_key(one.email)
    return bool(phone and phone == phone_key(other.phone)) or bool(email and email == email_key(other.email))


def phone_key(phone: str) -> str:
    """Return a phone's digits for comparing: +7, 8 and nothing before the ten of Kazakhstan are one. "" for none."""
    digits = re.sub(r"\D", "", phone)
    if len(digits) == 11 and digits[0] in "78":
        digits = digits[1:]
    # Fewer are an extension or a slip, and nobody's alone.
    return digits if len(digits) >= 10 else ""


def email_key(email: str) -> str:
    """Return an e-mail for comparing; "" for what is none."""
    email = email.strip().casefold()
    return email if "@" in email else ""
