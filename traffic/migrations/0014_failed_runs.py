from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("traffic", "0013_restored_sales"),
    ]

    operations = [
        migrations.AddField(
            model_name="reattributionrun",
            name="error",
            field=models.TextField(blank=True, db_default="", verbose_name="error"),
        ),
        migrations.AddField(
            model_name="reattributionrun",
            name="failures",
            field=models.PositiveSmallIntegerField(db_default=0),
        ),
        migrations.AlterField(
            model_name="reattributionrun",
            name="state",
            field=models.CharField(
                choices=[
                    ("waiting", "Waiting"),
                    ("running", "Running"),
                    ("done", "Done"),
                    ("failed", "Stopped by an error"),
                    ("undoing", "Being undone"),
                    ("undone", "Undone"),
                    ("undo_failed", "Undoing failed"),
                ],
                default="waiting",
                max_length=11,
                verbose_name="state",
            ),
        ),
    ]
