"""Addresses outside this site."""

from __future__ import annotations

from django.conf import settings


def deal_url(lead_id: int) -> str:
    """Return the address of the deal in AmoCRM."""
    return f"{settings.AMOCRM_BASE_URL}/leads/detail/{lead_id}"
