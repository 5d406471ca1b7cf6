"""Every change of a sale notes its day, whoever makes it and how: the dashboard's sums by day rest on it."""

from __future__ import annotations

from django.db import migrations

FORWARD = """
CREATE FUNCTION note_sale_days() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO sale_day_changes (utc_day) SELECT DISTINCT (sale_date AT TIME ZONE 'UTC')::date FROM changed;
    RETURN NULL;
END $$;

CREATE FUNCTION note_moved_sale_days() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO sale_day_changes (utc_day)
    SELECT (sale_date AT TIME ZONE 'UTC')::date FROM changed
    UNION SELECT (sale_date AT TIME ZONE 'UTC')::date FROM before;
    RETURN NULL;
END $$;

CREATE FUNCTION forget_sale_days() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM sale_days_built;
    RETURN NULL;
END $$;

CREATE TRIGGER sale_days_insert AFTER INSERT ON all_sales_tracking REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION note_sale_days();
CREATE TRIGGER sale_days_delete AFTER DELETE ON all_sales_tracking REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION note_sale_days();
CREATE TRIGGER sale_days_update AFTER UPDATE ON all_sales_tracking REFERENCING OLD TABLE AS before NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION note_moved_sale_days();
CREATE TRIGGER sale_days_truncate AFTER TRUNCATE ON all_sales_tracking
    FOR EACH STATEMENT EXECUTE FUNCTION forget_sale_days();
"""
BACK = """
DROP TRIGGER sale_days_insert ON all_sales_tracking;
DROP TRIGGER sale_days_delete ON all_sales_tracking;
DROP TRIGGER sale_days_update ON all_sales_tracking;
DROP TRIGGER sale_days_truncate ON all_sales_tracking;
DROP FUNCTION note_sale_days();
DROP FUNCTION note_moved_sale_days();
DROP FUNCTION forget_sale_days();
"""


class Migration(migrations.Migration):
    dependencies = [("traffic", "0007_dashboard")]

    operations = [migrations.RunSQL(FORWARD, BACK)]
