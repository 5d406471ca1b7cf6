from __future__ import annotations

from django.db import migrations

# The row triggers know nothing of TRUNCATE.
GUARDS = """
CREATE FUNCTION referrals_no_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is never emptied: what was booked and decided stays', TG_TABLE_NAME;
END
$$;
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON referral_earnings
FOR EACH STATEMENT EXECUTE FUNCTION referrals_no_truncate();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON referral_decisions
FOR EACH STATEMENT EXECUTE FUNCTION referrals_no_truncate();
"""
UNDO = """
DROP TRIGGER no_truncate ON referral_decisions;
DROP TRIGGER no_truncate ON referral_earnings;
DROP FUNCTION referrals_no_truncate();
"""


class Migration(migrations.Migration):
    dependencies = [("referrals", "0007_first_sales_and_forgetting")]
    operations = [migrations.RunSQL(GUARDS, UNDO)]
