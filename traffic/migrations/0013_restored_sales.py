from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("traffic", "0012_totals_rolled_up"),
    ]

    operations = [
        migrations.AlterField(
            model_name="salesnotification",
            name="kind",
            field=models.CharField(
                choices=[("sale", "Sale"), ("taken_back", "Sale taken back"), ("restored", "Sale restored")],
                default="sale",
                max_length=12,
                verbose_name="kind",
            ),
        ),
    ]
