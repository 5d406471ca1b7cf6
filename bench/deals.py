"""Bodies for benchmarks: won deals of about 1.2 kB, as the account's hook sends them."""

from __future__ import annotations

ACCOUNT = "&account[subdomain]=school&account[id]=31000001&account[_links][self]=https://school.amocrm.ru"


def won_deal(lead_id: int, at: int, campaign: str = "tripwire_webhook_test") -> bytes:
    """Return the body of "status changed" of a deal won at `at` (unix seconds), attributed to a targetologist."""
    lead = {
        "id": lead_id,
        "name": "TEST+WEBHOOK",
        "status_id": 142,
        "old_status_id": 20067736,
        "price": 100000,
        "responsible_user_id": 2079676,
        "last_modified": at,
        "modified_user_id": 2079718,
        "created_user_id": 2076025,
        "date_create": at - 3600,
        "pipeline_id": 10418746,
        "tags][0][id": 80147,
        "tags][0][name": "tag",
        "account_id": 31000001,
    }
    utm = {"434731": ("utm_source", "kenesary_test"), "434729": ("utm_campaign", campaign)}
    for index, (field_id, (name, value)) in enumerate({**utm, "434727": ("utm_medium", "cpc")}.items()):
        lead |= {
            f"custom_fields][{index}][id": field_id,
            f"custom_fields][{index}][name": name,
            f"custom_fields][{index}][values][0][value": value,
        }
    lead |= {"created_at": at - 3600, "updated_at": at}
    pairs = "&".join(f"leads[status][0][{name}]={value}" for name, value in lead.items())
    return (pairs + ACCOUNT).encode()
