from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("webhooks", "0008_droppable"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="webhookdelivery",
            index=models.Index(
                models.F("next_attempt_at"),
                models.F("id"),
                condition=models.Q(("attempts__gt", 0), ("status__in", ["received", "failed"])),
                name="delivery_again",
            ),
        ),
    ]
