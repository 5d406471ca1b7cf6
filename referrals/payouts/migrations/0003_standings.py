from __future__ import annotations

import django.db.models.deletion
from django.db import migrations, models

VIEW = """
CREATE VIEW referral_standings AS
SELECT entry.conversion_id, entry.referrer_id, sum(entry.amount) AS posted,
       coalesce(sum(entry.amount) FILTER (WHERE item.id IS NULL), 0) AS open, max(item.payout_id) AS payout_id
FROM referral_earnings AS entry
LEFT JOIN referral_payout_items AS item ON item.earning_id = entry.id AND item.live
GROUP BY entry.conversion_id, entry.referrer_id
"""


class Migration(migrations.Migration):
    dependencies = [("payouts", "0002_guards"), ("referrals", "0006_undecided")]

    operations = [
        migrations.RunSQL(VIEW, "DROP VIEW referral_standings"),
        migrations.CreateModel(
            name="Standing",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "conversion_id",
                        "referrer_id",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "conversion",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="standings",
                        to="referrals.conversion",
                    ),
                ),
                (
                    "referrer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.DO_NOTHING, related_name="+", to="referrals.referrer"
                    ),
                ),
                ("posted", models.DecimalField(decimal_places=0, max_digits=14)),
                ("open", models.DecimalField(decimal_places=0, max_digits=14)),
                (
                    "payout",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="payouts.payout",
                    ),
                ),
            ],
            options={"db_table": "referral_standings", "managed": False, "default_permissions": ()},
        ),
    ]
