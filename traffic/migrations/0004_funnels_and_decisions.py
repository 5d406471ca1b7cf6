from __future__ import annotations

from typing import Any

from django.db import migrations

from traffic.seeds import seed_funnels

# What was decided so far stays decided. Under which version of the rules, nobody wrote down.
KEEP_DECISIONS = """
INSERT INTO sale_attributions (
    lead_id, utm_source, utm_medium, utm_campaign, utm_content, utm_term,
    channel, targetologist_id, matched_rule_id, matched_field, matched_text, funnel_type
)
SELECT lead_id, utm_source, utm_medium, utm_campaign, utm_content, utm_term,
       channel, targetologist, matched_rule_id, matched_field, matched_text, funnel_type
FROM all_sales_tracking ON CONFLICT DO NOTHING
"""
APPEND_ONLY = """
CREATE FUNCTION sale_overrides_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'sale_overrides is append-only: decide anew instead';
END
$$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON sale_overrides
FOR EACH ROW EXECUTE FUNCTION sale_overrides_append_only();
"""
UNDO = """
DROP TRIGGER append_only ON sale_overrides;
DROP FUNCTION sale_overrides_append_only();
"""


def forwards(apps: Any, schema_editor: Any) -> None:
    seed_funnels(apps.get_model("traffic", "Funnel"))


class Migration(migrations.Migration):
    dependencies = [("traffic", "0003_attribution_explained")]
    operations = [
        migrations.RunPython(forwards, migrations.RunPython.noop),
        migrations.RunSQL(KEEP_DECISIONS, migrations.RunSQL.noop),
        migrations.RunSQL(APPEND_ONLY, UNDO),
    ]
