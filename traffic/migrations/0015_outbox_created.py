from __future__ import annotations

from django.contrib.postgres.indexes import BrinIndex
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("notifications", "0006_outbox_created"),
        ("traffic", "0014_failed_runs"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="digest",
            index=BrinIndex(models.F("created_at"), name="digest_created"),
        ),
        migrations.AddIndex(
            model_name="salesnotification",
            index=BrinIndex(models.F("created_at"), name="salesnotification_created"),
        ),
    ]
