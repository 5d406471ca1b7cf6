from __future__ import annotations

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("traffic", "0010_outbox_by_chat"),
    ]

    operations = [
        migrations.AlterField(
            model_name="sale",
            name="matched_rule",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="traffic.attributionrule",
                verbose_name="matched rule",
            ),
        ),
        migrations.AlterField(
            model_name="sale",
            name="targetologist",
            field=models.ForeignKey(
                blank=True,
                db_column="targetologist",
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="traffic.targetologist",
                verbose_name="targetologist",
            ),
        ),
        migrations.AlterField(
            model_name="salesnotification",
            name="targetologist",
            field=models.ForeignKey(
                blank=True,
                db_column="targetologist",
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="traffic.targetologist",
                verbose_name="targetologist",
            ),
        ),
    ]
