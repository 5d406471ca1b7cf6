"""The README's table of settings and what settings.py reads are the same."""

from __future__ import annotations

import ast
import re

import pytest

from tests.docs.pages import ROOT, rows, section

README = ROOT / "README.md"
SETTINGS = ROOT / "onai_project" / "settings.py"


def settings_read() -> dict[str, object]:
    """Return the names that settings.py reads, with their default where it is a plain value, else None."""
    found: dict[str, object] = {}
    for node in ast.walk(ast.parse(SETTINGS.read_text())):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name("env")), args=[ast.Constant(str(name)), *_]):
                defaults = [word.value for word in node.keywords if word.arg == "default"]
                plain = defaults[0].value if defaults and isinstance(defaults[0], ast.Constant) else None
                found[name] = found.get(name) or plain
    return found


def documented() -> dict[str, str]:
    return {cells[0].strip("`"): cells[1] for cells in rows(section(README, "Settings"))}


def test_it_names_every_setting_that_is_read_and_no_other():
    assert set(documented()) == set(settings_read())


@pytest.mark.parametrize(
    ("name", "default"),
    [
        (name, default)
        for name, default in settings_read().items()
        if default not in (None, "") and name not in ("SECRET_KEY", "ENV_FILE")
    ],
)
def test_it_tells_the_default(name, default):
    shown = "off" if default is False else str(default)
    assert f"`{shown}`" in documented()[name]


def test_the_example_file_names_only_settings():
    example = (ROOT / ".env.example").read_text()
    assert set(re.findall(r"^#? ?([A-Z_]+)=", example, re.MULTILINE)) <= set(settings_read())
