from __future__ import annotations

from django.contrib.postgres.indexes import BrinIndex
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("cabinet", "0004_outbox_by_chat"),
        ("notifications", "0006_outbox_created"),
        ("payouts", "0005_standings_by_payout"),
        ("referrals", "0008_nothing_is_emptied"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="cabinetmessage",
            index=BrinIndex(models.F("created_at"), name="cabinetmessage_created"),
        ),
    ]
