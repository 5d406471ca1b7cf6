from __future__ import annotations

from importlib import import_module

from django.db import migrations

# The first five columns are those of before: the code that still serves while this runs asks for them.
VIEW = """
CREATE OR REPLACE VIEW referral_standings AS
SELECT conversion_id, referrer_id, sum(amount) AS posted,
       coalesce(sum(amount) FILTER (WHERE payout_id IS NULL), 0) AS open, max(payout_id) AS payout_id,
       coalesce(sum(amount) FILTER (WHERE state = 'paid'), 0) AS paid,
       coalesce(sum(amount) FILTER (WHERE state = 'confirmed'), 0) AS moving,
       coalesce(sum(amount) FILTER (WHERE state = 'failed'), 0) AS failed,
       max(payout_id) FILTER (WHERE state = 'paid' AND amount > 0) AS paid_in_id,
       max(payout_id) FILTER (WHERE state = 'confirmed' AND amount > 0) AS moving_in_id,
       max(payout_id) FILTER (WHERE state = 'failed' AND amount > 0) AS failed_in_id,
       max(payout_id) FILTER (WHERE amount < 0) AS deducted_in_id
FROM (
    SELECT entry.conversion_id, entry.referrer_id, item.payout_id, payout.state, sum(entry.amount) AS amount
    FROM referral_earnings AS entry
    LEFT JOIN referral_payout_items AS item ON item.earning_id = entry.id AND item.live
    LEFT JOIN referral_payouts AS payout ON payout.id = item.payout_id
    GROUP BY entry.conversion_id, entry.referrer_id, item.payout_id, payout.state
) AS part
GROUP BY conversion_id, referrer_id
"""
BEFORE = import_module("referrals.payouts.migrations.0003_standings").VIEW


class Migration(migrations.Migration):
    dependencies = [("payouts", "0004_nothing_is_emptied")]

    operations = [migrations.RunSQL(VIEW, f"DROP VIEW referral_standings; {BEFORE}")]
