"""One-time tokens: random, short-lived, one alive per referrer and purpose, stored as digests only."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta

from django.db import transaction
from django.db.models import QuerySet, Value
from django.db.models.functions import Now

from referrals.cabinet.models import OneTimeToken
from referrals.models import Referrer

# Long enough to find the message and press the button, too short to lie around.
LIFETIME = timedelta(minutes=15)


def digest(secret: str) -> str:
    """Return what is stored of a random secret: nobody can get it back from there."""
    return hashlib.sha256(secret.encode()).hexdigest()


def token_issue(*, referrer: Referrer, purpose: OneTimeToken.Purpose) -> str:
    """Make a token and kill the referrer's earlier ones of the same purpose; return it, for the only time."""
    token = secrets.token_urlsafe(24)
    with transaction.atomic():
        # Two at once: the second waits here, then kills the first.
        Referrer.objects.select_for_update(no_key=True).get(pk=referrer.pk)
        OneTimeToken.objects.filter(referrer=referrer, purpose=purpose, used_at=None).update(used_at=Now())
        OneTimeToken.objects.create(
            digest=digest(token), purpose=purpose, referrer=referrer, expires_at=Now() + Value(LIFETIME)
        )
    return token


def token_alive(token: str, purpose: OneTimeToken.Purpose) -> bool:
    """Tell whether a token could still be redeemed. Changes nothing: messengers look at links before people do."""
    return _alive(token, purpose).exists()


def token_redeem(*, token: str, purpose: OneTimeToken.Purpose) -> Referrer | None:
    """Use a token up and return whose it is; None if it was used, replaced, too old or never made."""
    with transaction.atomic():
        # One UPDATE decides: of two who redeem it at once, one changes the row.
        if not _alive(token, purpose).update(used_at=Now()):
            return None
        return OneTimeToken.objects.select_related("referrer").get(digest=digest(token)).referrer


def _alive(token: str, purpose: OneTimeToken.Purpose) -> QuerySet[OneTimeToken]:
    return OneTimeToken.objects.filter(digest=digest(token), purpose=purpose, used_at=None, expires_at__gt=Now())
