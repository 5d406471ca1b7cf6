"""The Traffic Dashboard as tables: what the page draws, the files hold and the API answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import zip_longest

from django.http import QueryDict
from django.urls import reverse
from django.utils.translation import gettext as _

from onai_project.comparison import Change
from onai_project.filters import address_with
from onai_project.links import deal_url
from onai_project.tables import Column, Kind, Row, Table, Value, sort_table
from traffic.dashboard import Day, TrafficDashboard
from traffic.figures import Figures, Totals, share
from traffic.models import Sale

NO_QUERY = QueryDict()


def dimension_titles() -> dict[str, str]:
    """Return what the breakdown can be by, and how a tab calls it."""
    return {
        "campaign": _("By campaign"),
        "source": _("By source"),
        "medium": _("By medium"),
        "funnel": _("By funnel"),
    }


def value_titles() -> dict[str, str]:
    """Return what one row of the breakdown is."""
    return {"campaign": _("Campaign"), "source": _("Source"), "medium": _("UTM medium"), "funnel": _("Funnel")}


def figures_values(figures: Figures, before: Totals | None = None, whole: Totals | None = None) -> dict[str, Value]:
    """Return the values by column key; `before` gives the trend, `whole` the share."""
    totals = figures.totals
    return {
        "sales": totals.sales,
        "revenue": totals.revenue,
        "average": totals.average,
        "share": share(totals.revenue, whole.revenue) if whole else None,
        "trend": Change(totals.revenue, before.revenue).percent if before else None,
        "without_amount": totals.without_amount,
        "spend": figures.spend,
        "cpa": figures.cpa,
        "roas": figures.roas,
        "profit": figures.profit,
    }


def _columns(*, spend: bool, compared: bool = True) -> list[Column]:
    columns = [
        Column("sales", _("Sales"), Kind.COUNT),
        Column("revenue", _("Revenue"), Kind.MONEY),
        Column("average", _("Average"), Kind.MONEY),
    ]
    if compared:
        columns += [Column("share", _("Share"), Kind.PERCENT), Column("trend", _("Trend"), Kind.CHANGE)]
    columns.append(Column("without_amount", _("Without an amount"), Kind.COUNT))
    if spend:
        columns += [
            Column("spend", _("Ad spend"), Kind.MONEY),
            Column("cpa", "CPA", Kind.MONEY),
            Column("roas", "ROAS", Kind.RATIO),
            Column("profit", _("Profit"), Kind.MONEY),
        ]
    return columns


def lines_table(data: TrafficDashboard, query: QueryDict = NO_QUERY) -> Table:
    """Return the sales by targetologist, with those of nobody and of referrals below."""
    rows = [
        Row(
            {"name": line.name, **figures_values(line.figures, line.before, data.totals)},
            links={"name": address_with(query, {"targetologist": line.key})},
            quiet=not line.totals.sales and line.spend is None,
            fixed=line.key in ("unknown", "referral"),
        )
        for line in data.lines
    ]
    columns = [Column("name", _("Targetologist")), *_columns(spend=data.spend is not None)]
    table = Table("lines", _("By targetologist"), columns, rows, total=_total(data))
    return sort_table(table, query)


def parts_table(data: TrafficDashboard, query: QueryDict = NO_QUERY, *, first: int | None = None) -> Table:
    """Return the sales by campaign, source, medium or funnel, the greatest revenue first unless the URL wants else.

    With `first` only so many rows, each a link that filters by it: a page. Without, all of them: a file.
    """
    spend = data.by == "campaign" and any(part.spend is not None for part in data.parts)
    columns = [Column("name", value_titles()[data.by]), *_columns(spend=spend)]
    rows = [
        Row({"name": part.value or None, **figures_values(part.figures, part.before, data.totals)})
        for part in data.parts
    ]
    table = Table("parts", dimension_titles()[data.by], columns, rows, total=_total(data))
    table = sort_table(table, query, default="-revenue")
    if first is None:
        return table
    linked = [
        replace(row, links={"name": address_with(query, {data.by: row.values["name"] or ""})})
        for row in table.rows[:first]
    ]
    return replace(table, rows=linked)


def _total(data: TrafficDashboard) -> Row:
    return Row({"name": _("Total"), **figures_values(data.figures, data.before.totals, data.totals)})


def days_table(data: TrafficDashboard, query: QueryDict = NO_QUERY) -> Table:
    """Return the sales by day, beside the day to compare with and its revenue.

    Where the period before has more days (last month in March), the others stand in rows of their own.
    """
    rows = [_day_row(day, before) for day, before in zip_longest(data.days, data.days_before)]
    columns = [
        Column("day", _("Day"), Kind.DAY),
        *_columns(spend=data.spend is not None, compared=False),
        Column("day_before", _("Day before"), Kind.DAY),
        Column("before", _("Revenue before"), Kind.MONEY),
    ]
    total = Row(
        {
            "day": _("Total"),
            **figures_values(data.figures),
            "day_before": f"{data.compared.first:%d.%m} – {data.compared.last:%d.%m}",
            "before": data.before.totals.revenue,
        }
    )
    return sort_table(Table("days", _("By day"), columns, rows, total=total), query)


def _day_row(day: Day | None, before: Day | None) -> Row:
    values: dict[str, Value] = {"day": day.day, **figures_values(Figures(day.totals, day.spend))} if day else {}
    if before:
        values |= {"day_before": before.day, "before": before.totals.revenue}
    return Row(values)


def totals_table(data: TrafficDashboard) -> Table:
    """Return the sums of the period and of the one before."""
    rows = [
        _totals_row(_("This period"), data.period.first, data.period.last, data.figures, data.reversed),
        _totals_row(_("Period before"), data.compared.first, data.compared.last, data.before, data.reversed_before),
    ]
    columns = [
        Column("name", _("Period")),
        Column("first", _("From"), Kind.DAY),
        Column("last", _("To"), Kind.DAY),
        *_columns(spend=True, compared=False),
        Column("reversed", _("Taken back"), Kind.COUNT),
        Column("reversed_revenue", _("Taken back, amount"), Kind.MONEY),
    ]
    return Table("totals", _("Totals"), columns, rows)


def _totals_row(name: str, first: Value, last: Value, figures: Figures, reversed_: Totals) -> Row:
    values = {"name": name, "first": first, "last": last, **figures_values(figures)}
    return Row({**values, "reversed": reversed_.sales, "reversed_revenue": reversed_.revenue})


def filters_table(shown: Mapping[str, str]) -> Table:
    """Return which filters the file was made with, by title."""
    columns = [Column("name", _("Filter")), Column("value", _("Value"))]
    return Table(
        "filters", _("Filters"), columns, [Row({"name": name, "value": value}) for name, value in shown.items()]
    )


def sales_table(key: str, title: str, sales: Iterable[Sale], *, may_open: bool = True) -> Table:
    """Return sales one by one, each with its ways to the sale's page and to the deal in AmoCRM."""
    columns = [
        Column("sale_date", _("Date"), Kind.MOMENT),
        Column("lead_name", _("Deal")),
        Column("sale_amount", _("Amount"), Kind.MONEY),
        Column("targetologist", _("Targetologist")),
        Column("utm_campaign", _("Campaign")),
        Column("utm_source", _("Source")),
        Column("utm_medium", _("UTM medium")),
        Column("funnel", _("Funnel")),
        Column("lead_id", "AmoCRM"),
    ]
    rows = [
        Row(
            {
                "sale_date": sale.sale_date,
                "lead_name": sale.lead_name or None,
                "sale_amount": sale.sale_amount,
                "targetologist": str(sale.targetologist or sale.get_channel_display()),
                "utm_campaign": sale.utm_campaign or None,
                "utm_source": sale.utm_source or None,
                "utm_medium": sale.utm_medium or None,
                "funnel": sale.funnel_type,
                "lead_id": str(sale.lead_id),
            },
            links={
                **({"lead_name": reverse("admin:traffic_sale_change", args=[sale.pk])} if may_open else {}),
                "lead_id": deal_url(sale.lead_id),
            },
        )
        for sale in sales
    ]
    return Table(key, title, [_unsorted(column) for column in columns], rows)


def _unsorted(column: Column) -> Column:
    return Column(column.key, column.title, column.kind, sortable=False)
