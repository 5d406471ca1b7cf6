"""Commission by what stands between it and the referrer, added up in one pass over many entries.

The parts are those of status.with_entry_status, and tests hold them equal: there each entry is asked by itself, which
suits a page of fifty; here a year of them is joined. What the bank did not transfer is in a payout all the same.
"""

from __future__ import annotations

# Columns of a query over POSTED: all of it, then paid, in a payout, on hold, waiting. The rest is available, or, where
# it was paid and taken back, a debt that lessens what is available.
SUMS = """
coalesce(sum(amount), 0),
coalesce(sum(amount) FILTER (WHERE payout = 'paid'), 0),
coalesce(sum(amount) FILTER (WHERE payout <> 'paid'), 0),
coalesce(sum(amount) FILTER (WHERE payout IS NULL AND counts AND held), 0),
coalesce(sum(amount) FILTER (WHERE payout IS NULL AND counts AND NOT held AND waits), 0)
"""
# Takes %(now)s. Each entry with its sale's referrer_id, sale_date; end it with a WHERE on `entry` and `sale`.
POSTED = """
SELECT entry.referrer_id, sale.sale_date, entry.amount, payout.state AS payout,
       sale.state = 'won' AND sale.rejected = '' AND sale.referrer_id = entry.referrer_id AS counts,
       sale.hold_reason <> '' AS held, sale.sale_amount IS NOT NULL AND sale.available_at > %(now)s AS waits
FROM referral_conversions AS sale
JOIN referral_earnings AS entry ON entry.conversion_id = sale.id
LEFT JOIN referral_payout_items AS item ON item.earning_id = entry.id AND item.live
LEFT JOIN referral_payouts AS payout ON payout.id = item.payout_id
"""
