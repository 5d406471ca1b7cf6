"""The alarm of the ledger: what its last check found, or that there was none."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from notifications.alarms import register
from referrals.models import Conversion
from referrals.payouts.checks import findings_of
from referrals.payouts.models import LedgerCheck

# The check is due every day; a day and a few hours without one, and something keeps it from running.
OVERDUE = timedelta(hours=30)


@register("ledger", gettext_lazy("The ledger agrees"))
def ledger() -> str:
    """Say so when the last check found something wrong, or when it is overdue. Before the first sale all is well."""
    last = LedgerCheck.objects.first()
    if last is not None and last.wrong:
        titles = [finding.title for finding in findings_of(last) if finding.count]
        return _("%(count)d rows are wrong (%(checks)s). Look at Checks of the ledger before you pay anybody.") % {
            "count": last.wrong,
            "checks": "; ".join(titles),
        }
    begun = Conversion.objects.order_by("created_at").values_list("created_at", flat=True).first()
    since = last.started_at if last is not None else begun
    if since is None or timezone.now() - since < OVERDUE:
        return ""
    return _("The ledger has not been checked since %(moment)s. Is the worker running? Try: manage.py check_ledger") % {
        "moment": timezone.localtime(since).strftime("%d.%m.%Y %H:%M")
    }
