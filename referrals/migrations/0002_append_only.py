from __future__ import annotations

from django.db import migrations

APPEND_ONLY = """
CREATE FUNCTION referral_earnings_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'referral_earnings is append-only: post a new entry instead';
END
$$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON referral_earnings
FOR EACH ROW EXECUTE FUNCTION referral_earnings_append_only();
"""
UNDO = """
DROP TRIGGER append_only ON referral_earnings;
DROP FUNCTION referral_earnings_append_only();
"""


class Migration(migrations.Migration):
    dependencies = [("referrals", "0001_initial")]
    operations = [migrations.RunSQL(APPEND_ONLY, UNDO)]
