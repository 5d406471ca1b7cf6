"""The sums by day, rolled up by month and by whose they are: triggers keep both equal to them, whoever writes those."""

from __future__ import annotations

from django.db import migrations, models

LINES = """
INSERT INTO sale_line_totals (day, state, channel, targetologist, sales, priced, lacking, known)
SELECT day, state, channel, targetologist, sum(sales), sum(priced), sum(lacking), sum(known)
FROM sale_day_totals {days} GROUP BY day, state, channel, targetologist ORDER BY day;
"""
MONTHS = """
INSERT INTO sale_month_totals (month, state, channel, targetologist, utm_campaign, utm_source, utm_medium,
                               funnel_type, sales, priced, lacking, known)
SELECT date_trunc('month', day::timestamp)::date, state, channel, targetologist, utm_campaign, utm_source, utm_medium,
       funnel_type, sum(sales), sum(priced), sum(lacking), sum(known)
FROM sale_day_totals {days} GROUP BY 1, 2, 3, 4, 5, 6, 7, 8 ORDER BY 1;
"""
IN_MONTHS = """
JOIN (SELECT DISTINCT date_trunc('month', day::timestamp)::date AS month FROM changed) AS touched
    ON day >= touched.month AND day < touched.month + interval '1 month'
"""
FORWARD = f"""
CREATE FUNCTION roll_up_sale_days() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM sale_line_totals WHERE day IN (SELECT day FROM changed);
    {LINES.format(days="WHERE day IN (SELECT day FROM changed)")}
    DELETE FROM sale_month_totals
    WHERE month IN (SELECT date_trunc('month', day::timestamp)::date FROM changed);
    {MONTHS.format(days=IN_MONTHS)}
    RETURN NULL;
END $$;

CREATE FUNCTION forget_sale_day_roll_ups() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM sale_line_totals;
    DELETE FROM sale_month_totals;
    RETURN NULL;
END $$;

CREATE TRIGGER roll_up_insert AFTER INSERT ON sale_day_totals REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION roll_up_sale_days();
CREATE TRIGGER roll_up_delete AFTER DELETE ON sale_day_totals REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION roll_up_sale_days();
CREATE TRIGGER roll_up_update_old AFTER UPDATE ON sale_day_totals REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION roll_up_sale_days();
CREATE TRIGGER roll_up_update_new AFTER UPDATE ON sale_day_totals REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION roll_up_sale_days();
CREATE TRIGGER roll_up_truncate AFTER TRUNCATE ON sale_day_totals
    FOR EACH STATEMENT EXECUTE FUNCTION forget_sale_day_roll_ups();
{LINES.format(days="")}
{MONTHS.format(days="")}
"""  # noqa: S608
BACK = """
DROP TRIGGER roll_up_insert ON sale_day_totals;
DROP TRIGGER roll_up_delete ON sale_day_totals;
DROP TRIGGER roll_up_update_old ON sale_day_totals;
DROP TRIGGER roll_up_update_new ON sale_day_totals;
DROP TRIGGER roll_up_truncate ON sale_day_totals;
DROP FUNCTION roll_up_sale_days();
DROP FUNCTION forget_sale_day_roll_ups();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("traffic", "0011_fewer_indexes"),
    ]

    operations = [
        migrations.CreateModel(
            name="SaleLineTotal",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("state", models.CharField(max_length=8)),
                ("channel", models.CharField(max_length=13)),
                ("targetologist", models.CharField(max_length=50, null=True)),
                ("sales", models.IntegerField()),
                ("priced", models.IntegerField()),
                ("lacking", models.IntegerField()),
                ("known", models.DecimalField(decimal_places=0, max_digits=20)),
                ("day", models.DateField(db_index=True)),
            ],
            options={
                "db_table": "sale_line_totals",
                "abstract": False,
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="SaleMonthTotal",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("state", models.CharField(max_length=8)),
                ("channel", models.CharField(max_length=13)),
                ("targetologist", models.CharField(max_length=50, null=True)),
                ("sales", models.IntegerField()),
                ("priced", models.IntegerField()),
                ("lacking", models.IntegerField()),
                ("known", models.DecimalField(decimal_places=0, max_digits=20)),
                ("month", models.DateField(db_index=True)),
                ("utm_campaign", models.TextField()),
                ("utm_source", models.TextField()),
                ("utm_medium", models.TextField()),
                ("funnel_type", models.CharField(max_length=20)),
            ],
            options={
                "db_table": "sale_month_totals",
                "abstract": False,
                "default_permissions": (),
            },
        ),
        migrations.RunSQL(FORWARD, BACK),
    ]
