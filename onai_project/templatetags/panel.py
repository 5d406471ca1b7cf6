"""Template filters of the dashboards."""

from __future__ import annotations

from django import template

from notifications.format import money
from onai_project.links import deal_url

register = template.Library()
register.filter("money", money)
register.filter("deal_url", deal_url)
