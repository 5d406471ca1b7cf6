"""Template filters of the dashboards."""

from __future__ import annotations

from django import template

from onai_project.links import deal_url
from onai_project.money import money

register = template.Library()
register.filter("money", money)
register.filter("deal_url", deal_url)
