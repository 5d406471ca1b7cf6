"""Why something was ignored or failed, as the log says it: one of these sentences, or "sentence: detail".

They are stored in English, and shown in the reader's language.
"""

from __future__ import annotations

from django.utils.translation import gettext_noop

FOREIGN_ACCOUNT = gettext_noop("another AmoCRM account")
EMPTY_BODY = gettext_noop("the body is empty")
NO_DEAL = gettext_noop("no deal in it")
BROKEN_DEAL = gettext_noop("the deal cannot be read")
NOT_WON = gettext_noop("the deal is not won")
NO_STAGE = gettext_noop("the event does not say the deal's stage, and it is not known to be won")
NOBODYS = gettext_noop("won, but in no watched pipeline and not by a referral link")
DOUBTFUL = gettext_noop("partly not understood")
WORKER_DIED = gettext_noop("the worker died while processing it")
CRASHED = gettext_noop("processing failed")
RECEIVER_FAILED = gettext_noop("an app could not take the deal")
NOT_IN_AMOCRM = gettext_noop("AmoCRM does not have it")
NO_HOOK = gettext_noop("there is no hook to this site")
HOOK_DISABLED = gettext_noop("AmoCRM disabled it after failures")
HOOK_FOREIGN = gettext_noop("its address or its secret is not this site's")
HOOK_LACKS = gettext_noop("it lacks events")
# Those of the log.
EXPLAINED = (
    FOREIGN_ACCOUNT,
    EMPTY_BODY,
    NO_DEAL,
    BROKEN_DEAL,
    NOT_WON,
    NO_STAGE,
    NOBODYS,
    DOUBTFUL,
    WORKER_DIED,
    CRASHED,
    RECEIVER_FAILED,
)


def describe(error: Exception) -> str:
    """Return an exception's kind and text, without what PostgreSQL tells of the row (law 10: it may be a person's)."""
    return f"{type(error).__name__}: {str(error).split('DETAIL:', 1)[0].strip()}"


def because(reason: str, detail: object = "") -> str:
    """Return the stored form of a reason. What PostgreSQL cannot hold is cut from the detail, which may be anything."""
    text = f"{reason}: {detail}" if detail not in ("", None) else reason
    return text.replace("\x00", "").encode("utf-8", "replace").decode()[:2000]
