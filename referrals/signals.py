"""What referrals tell: the ledger moved because a person decided something. (What deals move, deals_changed tells.)

`entries_posted` is sent inside the transaction that posted. Keywords: `lead_ids: Collection[int]`, the deals whose
conversions were posted to; `of_history: bool`, True where sales of many days were gone over at once (recalculated).
"""

from __future__ import annotations

from django.dispatch import Signal

entries_posted = Signal()
