"""The admin's sidebar: each person sees only what they may open."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

# Group → (title, icon of Material Symbols, URL name, permission).
NAVIGATION: list[tuple[Promise, list[tuple[Promise, str, str, str]]]] = [
    (
        _("Dashboards"),
        [
            (_("Traffic Dashboard"), "monitoring", "traffic-dashboard", "traffic.view_sale"),
            (_("Referral Dashboard"), "group_add", "referral-dashboard", "referrals.view_conversion"),
        ],
    ),
    (
        _("Traffic"),
        [
            (_("Sales"), "payments", "admin:traffic_sale_changelist", "traffic.view_sale"),
            (_("Ad spend"), "shopping_cart_checkout", "admin:traffic_adspend_changelist", "traffic.view_adspend"),
            (_("Messages"), "send", "admin:traffic_salesnotification_changelist", "traffic.view_salesnotification"),
            (_("Without a targetologist"), "person_search", "traffic-unattributed", "traffic.view_attributionrule"),
            (_("Rules"), "rule", "admin:traffic_attributionrule_changelist", "traffic.view_attributionrule"),
            (_("Tester of the rules"), "labs", "traffic-tester", "traffic.view_attributionrule"),
            (
                _("Re-attribution"),
                "swap_horiz",
                "admin:traffic_reattributionrun_changelist",
                "traffic.view_reattributionrun",
            ),
            (
                _("Manual decisions"),
                "back_hand",
                "admin:traffic_saleoverride_changelist",
                "traffic.view_saleoverride",
            ),
            (_("Funnels"), "filter_alt", "admin:traffic_funnel_changelist", "traffic.view_funnel"),
            (_("Pipelines"), "conversion_path", "admin:traffic_pipeline_changelist", "traffic.view_pipeline"),
            (_("Targetologists"), "badge", "admin:traffic_targetologist_changelist", "traffic.view_targetologist"),
            (_("Digests"), "summarize", "admin:traffic_digest_changelist", "traffic.view_digest"),
            (
                _("Digest schedules"),
                "schedule_send",
                "admin:traffic_digestschedule_changelist",
                "traffic.view_digestschedule",
            ),
            (
                _("Telegram chats"),
                "forum",
                "admin:notifications_telegramchat_changelist",
                "notifications.view_telegramchat",
            ),
        ],
    ),
    (
        _("Referrals"),
        [
            (_("Conversions"), "sell", "admin:referrals_conversion_changelist", "referrals.view_conversion"),
            (_("Referrers"), "groups", "admin:referrals_referrer_changelist", "referrals.view_referrer"),
            (_("Ledger"), "account_balance_wallet", "admin:referrals_earning_changelist", "referrals.view_earning"),
            (_("Batches of payouts"), "payments", "admin:payouts_payoutbatch_changelist", "payouts.view_payoutbatch"),
            (_("Payouts"), "receipt", "admin:payouts_payout_changelist", "payouts.view_payout"),
            (_("Bank details"), "account_balance", "admin:payouts_bankdetails_changelist", "payouts.view_bankdetails"),
            (
                _("Checks of the ledger"),
                "fact_check",
                "admin:payouts_ledgercheck_changelist",
                "payouts.view_ledgercheck",
            ),
            (_("Cabinets"), "door_open", "admin:cabinet_cabinet_changelist", "cabinet.view_cabinet"),
            (_("Landing pages"), "link", "admin:cabinet_landingpage_changelist", "cabinet.view_landingpage"),
            (
                _("Messages to referrers"),
                "chat",
                "admin:cabinet_cabinetmessage_changelist",
                "cabinet.view_cabinetmessage",
            ),
            (_("Access to cabinets"), "key", "admin:cabinet_accessevent_changelist", "cabinet.view_accessevent"),
            (_("Plans"), "percent", "admin:referrals_commissionplan_changelist", "referrals.view_commissionplan"),
            (_("Groups"), "workspaces", "admin:referrals_referrergroup_changelist", "referrals.view_referrergroup"),
        ],
    ),
    (
        _("Webhooks"),
        [
            (_("Deliveries"), "inbox", "admin:webhooks_webhookdelivery_changelist", "webhooks.view_webhookdelivery"),
            (_("Log"), "receipt_long", "admin:webhooks_webhooklog_changelist", "webhooks.view_webhooklog"),
            (_("Deals"), "handshake", "admin:webhooks_deal_changelist", "webhooks.view_deal"),
            (_("Contacts"), "contacts", "admin:webhooks_contact_changelist", "webhooks.view_contact"),
            (
                _("Stages of deals"),
                "timeline",
                "admin:webhooks_dealtransition_changelist",
                "webhooks.view_dealtransition",
            ),
            (
                _("Reconciliations with AmoCRM"),
                "compare_arrows",
                "admin:webhooks_reconciliation_changelist",
                "webhooks.view_reconciliation",
            ),
            (
                _("Missed and different"),
                "difference",
                "admin:webhooks_reconciliationfinding_changelist",
                "webhooks.view_reconciliationfinding",
            ),
            (
                _("Refused requests"),
                "block",
                "admin:webhooks_webhookrefusal_changelist",
                "webhooks.view_webhookrefusal",
            ),
        ],
    ),
    (
        _("Administration"),
        [
            (_("System state"), "health_and_safety", "system-state", "notifications.view_alarm"),
            (_("Users"), "person", "admin:auth_user_changelist", "auth.view_user"),
            (_("Roles"), "shield_person", "admin:auth_group_changelist", "auth.view_group"),
            (_("Heartbeats"), "ecg_heart", "admin:webhooks_heartbeat_changelist", "webhooks.view_heartbeat"),
            (
                _("Questions to AmoCRM"),
                "contact_support",
                "admin:webhooks_apiquestion_changelist",
                "webhooks.view_apiquestion",
            ),
            (
                _("Messages of alarms"),
                "notification_important",
                "admin:notifications_alarmmessage_changelist",
                "notifications.view_alarmmessage",
            ),
            (_("AmoCRM API"), "sync_alt", "admin:webhooks_apistate_changelist", "webhooks.view_apistate"),
            (_("Counters"), "numbers", "admin:webhooks_counter_changelist", "webhooks.view_counter"),
        ],
    ),
]


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """Return unfold's SIDEBAR["navigation"] for the person who asks."""
    groups: list[dict[str, Any]] = []
    for title, items in NAVIGATION:
        allowed = [
            {
                "title": capfirst(str(name)),
                "icon": icon,
                "link": reverse(url),
                "active": request.path.startswith(reverse(url)),
            }
            for name, icon, url, permission in items
            if request.user.has_perm(permission)
        ]
        if allowed:
            groups.append({"title": title, "separator": bool(groups), "items": allowed})
    return groups
