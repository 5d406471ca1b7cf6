from __future__ import annotations

from typing import Any

from django.db import migrations

from traffic.seeds import seed


def forwards(apps: Any, schema_editor: Any) -> None:
    seed(apps.get_model("traffic", "Targetologist"), apps.get_model("traffic", "AttributionRule"))


class Migration(migrations.Migration):
    dependencies = [("traffic", "0001_initial")]
    operations = [migrations.RunPython(forwards, migrations.RunPython.noop)]
