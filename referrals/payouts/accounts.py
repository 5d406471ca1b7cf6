"""What bank details may look like. Pure: text in, a complaint out."""

from __future__ import annotations

import re

from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

_IBAN = re.compile(r"KZ\d{2}[0-9A-Z]{16}")
_PHONE = re.compile(r"\+7\d{10}")
_NAME = re.compile(r"[^\W\d_](?:[^\W_]|[ .'’«»\"-])*")
# The weights of the control digit of an IIN; where the first give 10, the second.
_WEIGHTS = ((1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11), (3, 4, 5, 6, 7, 8, 9, 10, 11, 1, 2))


def normal_account(text: str) -> str:
    """Return an account as banks take it: without spaces and hyphens, in capitals; a phone from +7."""
    account = re.sub(r"[\s\-()]", "", text).upper()
    return "+7" + account[1:] if re.fullmatch(r"[78]\d{10}", account) else account


def valid_account(account: str) -> None:
    """Raise ValidationError for what is neither a Kazakh IBAN with the right check digits nor a phone number."""
    account = normal_account(account)
    if _PHONE.fullmatch(account):
        return
    # ISO 13616: the first four characters go last, letters become 10 … 35, the remainder by 97 is 1.
    if _IBAN.fullmatch(account) and int("".join(str(int(c, 36)) for c in account[4:] + account[:4])) % 97 == 1:
        return
    raise ValidationError(_("Neither an IBAN nor a phone number: a character may be wrong or missing."))


def valid_iin(iin: str) -> None:
    """Raise ValidationError for a text that is no individual identification number (control digit by 11)."""
    if re.fullmatch(r"\d{12}", iin, re.ASCII):
        digits = [int(digit) for digit in iin]
        for weights in _WEIGHTS:
            control = sum(digit * weight for digit, weight in zip(digits, weights, strict=False)) % 11
            if control != 10:
                if control == digits[11]:
                    return
                break
    raise ValidationError(_("No IIN: twelve digits, and the last one does not fit the others."))


def valid_recipient(name: str) -> None:
    """Raise ValidationError for what no bank takes as a name; so it begins no formula of a table either."""
    if not _NAME.fullmatch(name):
        raise ValidationError(_("A name begins with a letter; letters, digits, spaces, dots, quotes, hyphens follow."))


def masked_account(account: str) -> str:
    """Return an account with only its end, enough to recognise one's own."""
    return f"•••• {account[-4:]}" if account else ""
