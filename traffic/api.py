"""The numbers of the Traffic Dashboard for programs: the same selectors as the page, scoped by the same roles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from onai_project.api import ReadView
from onai_project.periods import PRESETS, Period
from traffic import reports
from traffic.dashboard import Part, TrafficDashboard, find_sales, traffic_dashboard
from traffic.figures import Figures, Totals
from traffic.filters import DIMENSIONS
from traffic.models import Sale
from traffic.screen import KINDS, Screen, counted_sales, read_screen

PER_PAGE = 100

Money = serializers.DecimalField


def _money(help_text: str) -> serializers.DecimalField:
    return Money(max_digits=20, decimal_places=0, allow_null=True, help_text=f"{help_text} Whole tenge.")


class PeriodSerializer(serializers.Serializer[Any]):
    """Days, both included."""

    first = serializers.DateField()
    last = serializers.DateField()


class FiguresSerializer(serializers.Serializer[Any]):
    """Sums of sales beside the cost of their ads; null is unknown."""

    sales = serializers.IntegerField()
    revenue = _money("Sum of the known amounts; null where none is known.")
    average = _money("By sale with a known amount.")
    without_amount = serializers.IntegerField()
    lacking = serializers.IntegerField(help_text="Lack the amount, or both campaign and source.")
    spend = _money("Null where none is entered at this level.")
    cpa = _money("Spend by sale.")
    roas = serializers.DecimalField(max_digits=20, decimal_places=2, allow_null=True, help_text="Revenue by spend.")
    profit = _money("Revenue less spend.")


class LineSerializer(FiguresSerializer):
    """The sales of a targetologist, of nobody (`unknown`) or of the referrers (`referral`)."""

    key = serializers.CharField()
    name = serializers.CharField()
    before = FiguresSerializer(help_text="The same of the period before, without spend.")


class DaySerializer(FiguresSerializer):
    """The sales of one business day."""

    day = serializers.DateField()


class PartSerializer(FiguresSerializer):
    """The sales of one campaign, source, medium or funnel; "" is what lacks it."""

    value = serializers.CharField(allow_blank=True)
    before = FiguresSerializer(help_text="The same of the period before, without spend.")


class DashboardSerializer(serializers.Serializer[Any]):
    """Everything on the dashboard. `lines`, `days` and `parts` each add up to `totals`; `reversed` is apart."""

    period = PeriodSerializer()
    compared = PeriodSerializer()
    totals = FiguresSerializer()
    before = FiguresSerializer()
    reversed = FiguresSerializer()
    lines = LineSerializer(many=True)
    days = DaySerializer(many=True)
    by = serializers.ChoiceField(choices=list(DIMENSIONS))
    parts = PartSerializer(many=True)


class SaleSerializer(serializers.ModelSerializer[Sale]):
    """One sale."""

    targetologist = serializers.CharField(source="targetologist_id", allow_null=True)

    class Meta:
        model = Sale
        fields = (
            "lead_id", "lead_name", "sale_date", "sale_amount", "currency", "state", "channel", "targetologist",
            "utm_source", "utm_medium", "utm_campaign", "utm_content", "utm_term", "funnel_type", "pipeline_id",
            "moved",
        )  # fmt: skip


class SalesSerializer(serializers.Serializer[Any]):
    """A page of sales, the latest first."""

    count = serializers.IntegerField()
    page = serializers.IntegerField()
    pages = serializers.IntegerField()
    results = SaleSerializer(many=True)


def _parameter(name: str, text: str, type_: Any = OpenApiTypes.STR, enum: list[str] | None = None) -> OpenApiParameter:
    return OpenApiParameter(name, type_, description=text, enum=enum)


SCREEN = [
    _parameter("period", "Counted from today in Almaty; without it the last 7 days.", enum=list(PRESETS)),
    _parameter("from", "The first day; instead of `period`.", OpenApiTypes.DATE),
    _parameter("to", "The last day.", OpenApiTypes.DATE),
    _parameter("targetologist", "A slug, `unknown` or `referral`."),
    _parameter("campaign", "Exactly; empty: the sales without one."),
    _parameter("source", "Exactly; empty: the sales without one."),
    _parameter("medium", "Exactly; empty: the sales without one."),
    _parameter("funnel", "Exactly."),
    _parameter("q", "Contained in campaign, source or medium, whatever the case."),
]


class DashboardView(ReadView):
    """GET /api/traffic/dashboard/."""

    permission = "traffic.view_sale"

    @extend_schema(
        operation_id="traffic_dashboard",
        parameters=[*SCREEN, _parameter("by", "What `parts` are.", enum=list(DIMENSIONS))],
        responses=DashboardSerializer,
    )
    def get(self, request: Request) -> Response:
        """Return the sums of a period under filters, as the page shows them."""
        screen = _screen(request)
        data = traffic_dashboard(screen.period, request.user, screen.filters, by=screen.by)
        return Response(DashboardSerializer(dashboard_data(data)).data)


class SalesView(ReadView):
    """GET /api/traffic/sales/."""

    permission = "traffic.view_sale"

    @extend_schema(
        operation_id="traffic_sales",
        parameters=[
            *SCREEN,
            _parameter("show", "Which sales; `won` without it.", enum=list(KINDS)),
            _parameter("page", "From 1, of 100 sales.", OpenApiTypes.INT),
        ],
        responses=SalesSerializer,
    )
    def get(self, request: Request) -> Response:
        """Return the sales behind the sums, page by page."""
        screen = _screen(request)
        by_day, count = counted_sales(screen, request.user)
        found = find_sales(
            by_day,
            request.user,
            screen.filters,
            kind=screen.kind,
            limit=PER_PAGE,
            offset=(screen.page - 1) * PER_PAGE,
        )
        page = {"count": count, "page": screen.page, "pages": max(1, -(-count // PER_PAGE)), "results": found}
        return Response(SalesSerializer(page).data)


def _screen(request: Request) -> Screen:
    """Return what the query asks for. Raises ValidationError for a period that is none."""
    screen = read_screen(request.query_params)
    if screen.problem:
        raise ValidationError({"period": [_("There is no such period.")]})
    return screen


def dashboard_data(data: TrafficDashboard) -> dict[str, Any]:
    """Return the dashboard as DashboardSerializer takes it."""
    return {
        "period": _period(data.period),
        "compared": _period(data.compared),
        "totals": _figures(data.figures),
        "before": _figures(data.before),
        "reversed": _figures(Figures(data.reversed)),
        "lines": [
            {"key": line.key, "name": line.name, **_figures(line.figures), "before": _before(line.before)}
            for line in data.lines
        ],
        "days": [{"day": day.day, **_figures(Figures(day.totals, day.spend))} for day in data.days],
        "by": data.by,
        "parts": [_part(part) for part in data.parts],
    }


def _part(part: Part) -> dict[str, Any]:
    return {"value": part.value, **_figures(part.figures), "before": _before(part.before)}


def _before(totals: Totals) -> Mapping[str, Any]:
    return _figures(Figures(totals))


def _figures(figures: Figures) -> dict[str, Any]:
    return {**reports.figures_values(figures), "lacking": figures.totals.lacking}


def _period(period: Period) -> dict[str, Any]:
    return {"first": period.first, "last": period.last}
