from __future__ import annotations

from django.db import migrations

# The row triggers know nothing of TRUNCATE; and items are inserted, which they let pass.
GUARDS = """
CREATE FUNCTION referral_payouts_no_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is never emptied: what was booked and paid stays', TG_TABLE_NAME;
END
$$;
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON referral_payout_batches
FOR EACH STATEMENT EXECUTE FUNCTION referral_payouts_no_truncate();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON referral_payouts
FOR EACH STATEMENT EXECUTE FUNCTION referral_payouts_no_truncate();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON referral_payout_items
FOR EACH STATEMENT EXECUTE FUNCTION referral_payouts_no_truncate();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON referral_payout_events
FOR EACH STATEMENT EXECUTE FUNCTION referral_payouts_no_truncate();

CREATE FUNCTION referral_payout_items_whole() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    wrong bigint;
BEGIN
    SELECT payout.id INTO wrong
    FROM referral_payouts AS payout JOIN referral_payout_items AS item ON item.payout_id = payout.id
    WHERE payout.id IN (SELECT payout_id FROM added)
    GROUP BY payout.id HAVING payout.amount <> sum(item.amount) LIMIT 1;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'referral_payout_items: the entries of payout % are not its sum', wrong;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER whole AFTER INSERT ON referral_payout_items REFERENCING NEW TABLE AS added
FOR EACH STATEMENT EXECUTE FUNCTION referral_payout_items_whole();
"""
UNDO = """
DROP TRIGGER whole ON referral_payout_items;
DROP FUNCTION referral_payout_items_whole();
DROP TRIGGER no_truncate ON referral_payout_events;
DROP TRIGGER no_truncate ON referral_payout_items;
DROP TRIGGER no_truncate ON referral_payouts;
DROP TRIGGER no_truncate ON referral_payout_batches;
DROP FUNCTION referral_payouts_no_truncate();
"""


class Migration(migrations.Migration):
    dependencies = [("payouts", "0003_standings")]
    operations = [migrations.RunSQL(GUARDS, UNDO)]
