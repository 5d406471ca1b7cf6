from __future__ import annotations

from typing import Any

from django.db import migrations

from referrals.seeds import seed


def forwards(apps: Any, schema_editor: Any) -> None:
    seed(apps.get_model("referrals", "CommissionPlan"))


class Migration(migrations.Migration):
    dependencies = [("referrals", "0002_append_only")]
    operations = [migrations.RunPython(forwards, migrations.RunPython.noop)]
