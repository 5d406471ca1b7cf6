from __future__ import annotations

from django.contrib.postgres.indexes import BrinIndex
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("notifications", "0005_outbox_by_chat"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="alarmmessage",
            index=BrinIndex(models.F("created_at"), name="alarmmessage_created"),
        ),
        migrations.AddIndex(
            model_name="chatmessage",
            index=BrinIndex(models.F("created_at"), name="chatmessage_created"),
        ),
    ]
