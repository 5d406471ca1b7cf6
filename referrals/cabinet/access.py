"""Who is signed in to which cabinet. A session of its own: neither the admin's cookie nor Django's users."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import Count, Q, Value
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponseBase

from referrals.cabinet.models import (
    AccessEvent,
    CabinetMessage,
    CabinetSession,
    LinkedChat,
    OneTimeToken,
    SignInAttempt,
)
from referrals.cabinet.tokens import digest, token_issue, token_redeem
from referrals.models import Referrer

COOKIE = "cabinet"
# The cookie goes nowhere else, so neither do the admin's pages see it.
PATH = "/r/"
# A referrer looks in now and then on their own phone.
SESSION_AGE = timedelta(days=30)
# A manager looks something up.
VIEW_AGE = timedelta(minutes=30)
# How often a link may be asked for: one address, and one place (people behind one network share it).
WINDOW = timedelta(minutes=15)
PER_ADDRESS = 3
PER_PLACE = 20
# "cabi" in bytes: the first of the two numbers of a lock on who is counted.
LOCK = 0x63616269
# What may look into a cabinet.
VIEW_PERMISSION = "cabinet.change_cabinet"


def link_request(*, address: str, place: str) -> bool:
    """Send a sign-in link to whoever has this code, e-mail or phone and a linked chat; False: asked too often.

    The caller learns nothing else: an unknown address is counted, too, and where a person was asked for too often by
    other spellings, the answer is as ever, but nothing is sent.
    """
    typed, where = f"address {address.strip().lower()}", f"place {place}"
    known = _known(address)
    with transaction.atomic():
        counts = _count([typed, where, *(_person(referrer) for referrer in known)])
        if counts[typed] > PER_ADDRESS or counts[where] > PER_PLACE:
            return False
        asked = [referrer for referrer in known if counts[_person(referrer)] <= PER_ADDRESS]
        for linked in LinkedChat.objects.filter(referrer__in=asked).select_related("chat", "referrer"):
            CabinetMessage.objects.create(chat=linked.chat, referrer=linked.referrer, kind=CabinetMessage.Kind.SIGN_IN)
            AccessEvent.objects.create(referrer=linked.referrer, kind=AccessEvent.Kind.LINK_SENT)
    return True


def _person(referrer: Referrer) -> str:
    return f"referrer {referrer.pk}"


def _count(keys: Sequence[str]) -> dict[str, int]:
    """Count one more question for each of these, and return how many each has had lately.

    Locked until the end of the transaction, in one order: of questions asked at once each sees those before it.
    """
    digests = {key: digest(key) for key in keys}
    # The first 32 bits, as PostgreSQL has them: with a sign. Two numbers are a lock of another space than one.
    numbers = sorted({int(found[:8], 16) - 2**31 for found in digests.values()})
    with connection.cursor() as cursor:
        for number in numbers:
            cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [LOCK, number])
    SignInAttempt.objects.bulk_create(SignInAttempt(who=found) for found in digests.values())
    lately = (
        SignInAttempt.objects.filter(who__in=digests.values(), at__gt=Now() - Value(WINDOW))
        .order_by()
        .values_list("who")
        .annotate(count=Count("pk"))
    )
    counts = dict(lately)
    return {key: counts[found] for key, found in digests.items()}


def link_make(*, referrer: Referrer, by: User) -> str:
    """Make a sign-in token for a manager to pass on, and note who did."""
    with transaction.atomic():
        token = token_issue(referrer=referrer, purpose=OneTimeToken.Purpose.SIGN_IN)
        AccessEvent.objects.create(referrer=referrer, kind=AccessEvent.Kind.LINK_MADE, by=by)
    return token


def session_begin(*, token: str) -> str | None:
    """Redeem a sign-in token; return the secret of a new session, or None where the token is worth nothing."""
    with transaction.atomic():
        referrer = token_redeem(token=token, purpose=OneTimeToken.Purpose.SIGN_IN)
        if referrer is None:
            return None
        AccessEvent.objects.create(referrer=referrer, kind=AccessEvent.Kind.SIGNED_IN)
        return _session_create(referrer, SESSION_AGE, None)


def view_begin(*, referrer: Referrer, by: User) -> str:
    """Let a manager look into a cabinet; return the secret of a session that may change nothing."""
    with transaction.atomic():
        AccessEvent.objects.create(referrer=referrer, kind=AccessEvent.Kind.VIEW_BEGUN, by=by)
        return _session_create(referrer, VIEW_AGE, by)


def session_of(request: HttpRequest) -> CabinetSession | None:
    """Return the session of a request; None where there is none, or the manager may no longer look.

    A manager looks for as long as they are signed in to the admin in the same browser.
    """
    secret = request.COOKIES.get(COOKIE, "")
    if not secret:
        return None
    session = (
        CabinetSession.objects.select_related("referrer", "viewer")
        .filter(digest=digest(secret), expires_at__gt=Now())
        .first()
    )
    if session is not None and session.viewer is not None:
        viewer = session.viewer
        signed_in = request.user.pk == viewer.pk
        if not (signed_in and viewer.is_active and viewer.is_staff and viewer.has_perm(VIEW_PERMISSION)):
            return None
    return session


def session_end(session: CabinetSession) -> None:
    """Sign out."""
    with transaction.atomic():
        CabinetSession.objects.filter(pk=session.pk).delete()
        AccessEvent.objects.create(
            referrer=session.referrer, kind=AccessEvent.Kind.SIGNED_OUT, by=session.viewer, detail=""
        )


def views_end(viewer: User) -> None:
    """Let a manager look no more: they signed out of the admin."""
    CabinetSession.objects.filter(viewer=viewer).delete()


def sessions_end(referrer: Referrer) -> int:
    """Sign the owner out everywhere; return of how many sessions."""
    return CabinetSession.objects.filter(referrer=referrer, viewer=None).delete()[0]


def set_cookie(response: HttpResponseBase, secret: str, age: timedelta) -> None:
    """Give the browser a session's secret."""
    response.set_cookie(
        COOKIE,
        secret,
        max_age=age,
        path=PATH,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def place_of(request: HttpRequest) -> str:
    """Return the address that a request came from; our own proxy's last word where there is one."""
    address = request.META.get("REMOTE_ADDR", "")
    if settings.BEHIND_PROXY:
        address = request.META.get("HTTP_X_FORWARDED_FOR", address).rsplit(",", 1)[-1].strip()
    return str(address)


def delete_expired() -> int:
    """Delete sessions, tokens and counts that no longer mean anything; return how many rows."""
    stale: Sequence[Any] = (
        CabinetSession.objects.filter(expires_at__lt=Now()),
        OneTimeToken.objects.filter(expires_at__lt=Now() - Value(WINDOW)),
        SignInAttempt.objects.filter(at__lt=Now() - Value(WINDOW)),
    )
    return sum(rows.delete()[0] for rows in stale)


def _session_create(referrer: Referrer, age: timedelta, viewer: User | None) -> str:
    secret = secrets.token_urlsafe(32)
    CabinetSession.objects.create(
        digest=digest(secret), referrer=referrer, viewer=viewer, expires_at=Now() + Value(age)
    )
    return secret


def _known(address: str) -> list[Referrer]:
    """Return the referrers with this code, e-mail or phone; phones are compared by their last ten digits."""
    address = address.strip().lower()
    found = Q(code=address) | Q(code=f"ref_{address}") | Q(email__iexact=address)
    if not address:
        return []
    digits = re.sub(r"\D", "", address)
    if len(digits) >= 10 and not re.search(r"[a-zа-я@]", address):
        by_phone = [
            pk
            for pk, phone in Referrer.objects.exclude(phone="").values_list("pk", "phone")
            if re.sub(r"\D", "", phone)[-10:] == digits[-10:]
        ]
        found |= Q(pk__in=by_phone)
    return list(Referrer.objects.filter(found))
