"""The Referral Dashboard as tables: what the page draws, the files hold and the API answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any
from urllib.parse import urlencode

from django.http import QueryDict
from django.urls import reverse
from django.utils.translation import gettext as _

from onai_project.comparison import Change
from onai_project.filters import address_with
from onai_project.links import deal_url
from onai_project.stored_reasons import reason_text
from onai_project.tables import Column, Kind, Row, Table, Value, sort_table
from referrals.dashboard import Commission, ReferralDashboard, Totals
from referrals.models import Conversion
from referrals.status import Status, status_sentence

NO_QUERY = QueryDict()


def _commission_columns() -> list[Column]:
    return [
        Column("accrued", _("Commission"), Kind.MONEY),
        Column("available", _("Available"), Kind.MONEY),
        Column("waiting", _("Waiting"), Kind.MONEY),
        Column("hold", _("On hold"), Kind.MONEY),
        Column("in_payout", _("In a payout"), Kind.MONEY),
        Column("paid", _("Paid"), Kind.MONEY),
    ]


def _totals_columns() -> list[Column]:
    return [
        Column("conversions", _("Conversions"), Kind.COUNT),
        Column("sales_sum", _("Sales sum"), Kind.MONEY),
        Column("without_amount", _("Without an amount"), Kind.COUNT),
    ]


def totals_values(totals: Totals) -> dict[str, Value]:
    """Return the values of conversions by column key."""
    return {
        "conversions": totals.conversions,
        "sales_sum": totals.sales_sum,
        "without_amount": totals.without_amount,
    }


def commission_values(commission: Commission) -> dict[str, Value]:
    """Return the values of commission by column key."""
    names = ("accrued", "available", "waiting", "hold", "in_payout", "paid")
    return {name: getattr(commission, name) for name in names}


def totals_table(data: ReferralDashboard) -> Table:
    """Return the period beside the one before; what was taken back is apart, and not in the sums."""
    rows = [
        Row(
            {
                "what": f"{data.period.first:%d.%m.%Y} – {data.period.last:%d.%m.%Y}",
                **totals_values(data.totals),
                **commission_values(data.commission),
            }
        ),
        Row(
            {
                "what": f"{data.before.period.first:%d.%m.%Y} – {data.before.period.last:%d.%m.%Y}",
                **totals_values(data.before.totals),
                "accrued": data.before.accrued,
            }
        ),
        Row({"what": _("Taken back"), **totals_values(data.reversed)}),
    ]
    columns = [Column("what", _("Period"), sortable=False), *_totals_columns(), *_commission_columns()]
    return Table("totals", _("Totals"), columns, rows)


def lines_table(data: ReferralDashboard, query: QueryDict = NO_QUERY) -> Table:
    """Return conversions and commission by referrer; a name leads to the entries behind it."""
    entries = reverse("referral-dashboard-entries") + address_with(query, {"referrer": None, "lines_sort": None})
    entries += "" if entries.endswith("?") else "&"
    rows = [
        Row(
            {
                "name": line.referrer.name or line.referrer.code,
                "code": line.referrer.code,
                **totals_values(line.totals),
                "trend": Change(line.totals.conversions, line.before.conversions).percent,
                **commission_values(line.commission),
            },
            links={"name": entries + urlencode({"referrer": line.referrer.code})},
        )
        for line in data.lines
    ]
    total = Row({"name": _("Total"), **totals_values(data.totals), **commission_values(data.commission)})
    columns = [
        Column("name", _("Referrer")),
        *_totals_columns()[:2],
        Column("trend", _("Trend"), Kind.CHANGE),
        *_commission_columns(),
        Column("code", _("Code")),
    ]
    return sort_table(Table("lines", _("By referrer"), columns, rows, total), query, "-accrued")


def days_table(data: ReferralDashboard, query: QueryDict = NO_QUERY) -> Table:
    """Return conversions and commission by the day of the sale."""
    rows = [Row({"day": day.day, **totals_values(day.totals), "accrued": day.accrued}) for day in data.days]
    total = Row({"day": None, **totals_values(data.totals), "accrued": data.commission.accrued})
    columns = [Column("day", _("Day"), Kind.DAY), *_totals_columns(), Column("accrued", _("Commission"), Kind.MONEY)]
    return sort_table(Table("days", _("By day"), columns, rows, total), query, "day")


def liability_table(data: ReferralDashboard) -> Table:
    """Return what is owed to all referrers today."""
    columns = [
        Column("owed", _("Owed"), Kind.MONEY, sortable=False),
        Column("in_payout", _("Of it in a payout"), Kind.MONEY, sortable=False),
        Column("paid", _("Ever paid"), Kind.MONEY, sortable=False),
    ]
    row = Row({column.key: getattr(data.liability, column.key) for column in columns})
    return Table("liability", _("Owed to all referrers today"), columns, [row])


def held_table(data: ReferralDashboard) -> Table:
    """Return the conversions that a person has to release or reject, who waits longest first."""
    return conversions_table("held", _("Waiting for a decision"), data.held)


def conversions_table(key: str, title: str, conversions: Iterable[Any]) -> Table:
    """Return conversions (with `status`, or held ones) as rows that lead to them and to AmoCRM."""
    rows = [
        Row(
            {
                "sale_date": conversion.sale_date,
                "name": conversion.lead_name or str(conversion.lead_id),
                "amount": conversion.sale_amount,
                "referrer": str(conversion.referrer),
                "status": _status(conversion),
                "deal": str(conversion.lead_id),
            },
            links={
                "name": reverse("admin:referrals_conversion_change", args=[conversion.pk]),
                "deal": deal_url(conversion.lead_id),
            },
        )
        for conversion in conversions
    ]
    columns = [
        Column("sale_date", _("Date"), Kind.MOMENT, sortable=False),
        Column("name", _("Deal"), sortable=False),
        Column("amount", _("Amount"), Kind.MONEY, sortable=False),
        Column("referrer", _("Referrer"), sortable=False),
        Column("status", _("Commission"), sortable=False),
        Column("deal", "AmoCRM", sortable=False),
    ]
    return Table(key, title, columns, rows)


def unclaimed_table(data: ReferralDashboard) -> Table:
    """Return the codes whose owner nobody has said yet."""
    rows = [
        Row(
            {"code": one.code, "conversions": one.won_conversions, "accrued": one.balance},
            links={"code": reverse("admin:referrals_referrer_change", args=[one.pk])},
        )
        for one in data.unclaimed
    ]
    columns = [
        Column("code", _("Code"), sortable=False),
        Column("conversions", _("Conversions"), Kind.COUNT, sortable=False),
        Column("accrued", _("Accrued in all"), Kind.MONEY, sortable=False),
    ]
    return Table("unclaimed", _("Codes that nobody has claimed"), columns, rows)


def entries_table(entries: Iterable[Any], titles: Mapping[str, str], *, linked: bool = True) -> Table:
    """Return ledger entries (with `status`, and `payout_number`) as a table; `titles` are the names of statuses."""
    return Table("entries", _("Ledger"), entries_columns(), list(entries_rows(entries, titles, linked=linked)))


def entries_rows(entries: Iterable[Any], titles: Mapping[str, str], *, linked: bool) -> Iterator[Row]:
    """Yield the rows of entries_table. A file needs no links, and is made in half the time without."""
    why = cache(reason_text)  # thousands of entries have a dozen reasons
    for entry in entries:
        yield Row(
            {
                "sale_date": entry.conversion.sale_date,
                "deal": str(entry.conversion.lead_id),
                "name": entry.conversion.lead_name or None,
                "referrer": str(entry.referrer),
                "why": why(entry.reason),
                "posted": entry.created_at,
                "available_at": entry.conversion.available_at,
                "status": titles[entry.status],
                "payout": f"№ {entry.payout_number}" if entry.payout_number else None,
                "amount": entry.amount,
            },
            links=_entry_links(entry) if linked else {},
        )


def entries_columns() -> list[Column]:
    """Return the columns of entries_table."""
    return [
        Column("deal", _("Deal"), sortable=False),
        Column("amount", _("Commission"), Kind.MONEY, sortable=False),
        Column("status", _("State"), sortable=False),
        Column("payout", _("Payout"), sortable=False),
        Column("referrer", _("Referrer"), sortable=False),
        Column("why", _("Why"), sortable=False),
        Column("sale_date", _("Sale"), Kind.MOMENT, sortable=False),
        Column("available_at", _("Available from"), Kind.MOMENT, sortable=False),
        Column("posted", _("Posted"), Kind.MOMENT, sortable=False),
        Column("name", _("Deal name"), sortable=False),
    ]


def _entry_links(entry: Any) -> dict[str, str]:
    links = {"deal": reverse("admin:referrals_conversion_change", args=[entry.conversion_id])}
    if entry.payout_number:
        links["payout"] = reverse("admin:payouts_payout_change", args=[entry.payout_number])
    return links


def status_titles() -> dict[str, str]:
    """Return what each status of an entry is called."""
    return {status.value: str(status.label) for status in Status if status != Status.NOTHING}


def _status(conversion: Conversion) -> str:
    return status_sentence(getattr(conversion, "status", Status.HOLD), conversion)
