"""Reasons are stored in English, as the code writes them; people read them in their language."""

from __future__ import annotations

from django.utils.translation import gettext


def reason_text(stored: str) -> str:
    """Return a stored reason ("sentence" or "sentence: detail", in English) in the language of the page."""
    if not stored:
        return "—"
    if (whole := gettext(stored)) != stored:
        return whole
    head, colon, detail = stored.partition(": ")
    return (gettext(head) if head else "") + colon + detail
