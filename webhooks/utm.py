"""How UTM values are compared, and which of them are referral codes. Pure; one place for both apps."""

from __future__ import annotations

import unicodedata

REFERRAL_PREFIX = "ref_"
# Ours have 11 characters; normalising can make 18 of one.
MAX_CODE_LENGTH = 200


def normalise(value: str) -> str:
    """Return the form in which UTM values and patterns are compared: NFKC, lower case, ё as е, single spaces."""
    if not value.isascii():
        value = unicodedata.normalize("NFKC", value).casefold().replace("ё", "е")
    return " ".join(value.lower().split())


def referral_code(utm_source: str) -> str | None:
    """Return the referrer's code in a utm_source, in lower case; None when it is no referral link's."""
    code = normalise(utm_source)[:MAX_CODE_LENGTH]
    return code if code.startswith(REFERRAL_PREFIX) else None
