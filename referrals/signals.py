"""What referrals tell: the ledger moved because a person decided something. (What deals move, deals_changed tells.)

`entries_posted` is sent inside the transaction that posted. Keyword: `lead_ids: Collection[int]`, the deals whose
conversions were posted to.
"""

from __future__ import annotations

from django.dispatch import Signal

entries_posted = Signal()
