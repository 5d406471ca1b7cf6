"""Russian everywhere: every string has a translation, and no page that people see has English words left."""

from __future__ import annotations

import ast
import re
from html.parser import HTMLParser
from pathlib import Path

import polib
import pytest
import unfold
from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils.translation import gettext, ngettext
from django.utils.translation.template import templatize

from tests.onai_project.rows import make_user, one_of_each

CATALOGUES = sorted(path / "ru/LC_MESSAGES/django.po" for path in settings.LOCALE_PATHS)
UNFOLD = Path(unfold.__file__).parent
# Optional parts of unfold that are not installed here.
OURS = ["templates/admin", "templates/auth", "templates/registration", "templates/unfold", "contrib/filters"]

# Names, and words of the data itself.
ALLOWED = {
    *(
        "onai",
        "academy",
        "amocrm",
        "api",
        "telegram",
        "utm",
        "id",
        "iban",
        "csv",
        "excel",
        "json",
        "url",
        "crm",
        "unix",
        "e",
        "mac",
        "esc",
    ),
    *("source", "medium", "campaign", "content", "term", "referrer", "fbclid", "ref_", "ref_aigerim"),  # UTM …
    *("control", "command", "kzt", "kenesary", "arystan", "muha", "traf4", "express", "status", "accept"),
    *("kenji", "tripwire", "nutcab", "onai", "on", "ai", "yourmarketolog", "alex", "proftest", "pb_agency"),
    *("ref_known", "ref_nobody", "ref_left", "boss", "leads", "name", "amocrm_traffic", "x", "d", "b"),
    *("challenge", "challenge3d", "intensive", "intensive1d"),  # types of funnels, as campaigns are named
    *("start", "stop", "balance", "link"),  # the bot's commands
    *("https", "example", "kz", "course"),  # the address of a landing page
    *("cpa", "roas", "csv", "excel", "openapi", "tripwire_17"),
    *("manage", "py", "send_test_deal", "traffic", "referral"),
    *("utm_source", "utm_medium", "utm_campaign", "utm_content", "utm_term", "utm_referrer"),
}


def entries(path: Path) -> polib.POFile:
    return polib.pofile(str(path))


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.parts[-5])
def test_every_string_has_a_translation(path):
    bad = [entry.msgid for entry in entries(path) if not entry.translated() or entry.fuzzy]
    assert bad == []


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.parts[-5])
def test_the_compiled_catalogue_is_the_written_one(path):
    written = {entry.msgid: (entry.msgstr, entry.msgstr_plural) for entry in entries(path)}
    compiled = {e.msgid: (e.msgstr, e.msgstr_plural) for e in polib.mofile(str(path.with_suffix(".mo")))}
    assert compiled == written


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.parts[-5])
def test_translations_keep_the_placeholders(path):
    placeholders = re.compile(r"%\(\w+\)[sd]|%s|\{\w*\}")
    for entry in entries(path):
        for text in [entry.msgstr, *entry.msgstr_plural.values()]:
            if text:
                assert set(placeholders.findall(text)) <= set(placeholders.findall(entry.msgid)), entry.msgid


def strings_in(source: str) -> set[str]:
    """Return the literal arguments of gettext calls in Python code."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in GETTEXT:
            found.update(arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str))
    return found


GETTEXT = {"_", "gettext", "gettext_lazy", "ngettext", "gettext_noop"}


def template_strings(source: str) -> set[str]:
    """Return the msgids of a template, through Django's own extraction."""
    code = re.sub(r"^\s*#.*$", "", templatize(source), flags=re.MULTILINE)
    quoted = re.findall(r"""gettext\((u?(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"))""", code, flags=re.DOTALL)
    return {ast.literal_eval(text) for text in quoted}


def unfold_strings() -> set[str]:
    found: set[str] = set()
    for path in UNFOLD.rglob("*.html"):
        if any(str(path.relative_to(UNFOLD)).startswith(part) for part in OURS):
            found |= template_strings(path.read_text())
    for path in [
        *UNFOLD.glob("*.py"),
        *(UNFOLD / "templatetags").glob("*.py"),
        *(UNFOLD / "contrib/filters").rglob("*.py"),
    ]:
        found |= strings_in(path.read_text())
    return found


def test_the_search_for_unfolds_strings_finds_them():
    found = unfold_strings()
    assert {"Apply Filters", "Select action", "Type to search", "Log in"} <= found
    assert len(found) > 80


def test_unfold_says_nothing_in_english():
    words = [text for text in unfold_strings() if re.search("[A-Za-z]{3}", text)]
    # Python before 3.11.3 finds what has a plural by ngettext alone.
    assert [text for text in words if gettext(text) == text and ngettext(text, text, 1) == text] == []
    assert "Найдено" in ngettext(
        "\n                Found %(counter)s result in %(time)s seconds\n            ",
        "\n                Found %(counter)s results in %(time)s seconds\n            ",
        5,
    )


class VisibleText(HTMLParser):
    """Collects what a person sees or a screen reader says; what is data, code or an icon's name is left out."""

    hidden = {"script", "style", "pre", "code", "textarea", "title"}
    void = {"input", "img", "br", "hr", "meta", "link", "path", "rect", "source", "wbr"}
    said = {"placeholder", "title", "aria-label", "alt"}

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.stack: list[bool] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.texts += [values[name] or "" for name in self.said & values.keys()]
        if tag == "input" and values.get("type") == "submit":
            self.texts.append(values.get("value") or "")
        if tag not in self.void:
            icon = "material-symbols-outlined" in (values.get("class") or "")
            self.stack.append(icon or tag in self.hidden)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.void and self.stack:
            self.stack.pop()

    def handle_data(self, data: str) -> None:
        if not any(self.stack):
            self.texts.append(data)


def english(page: str) -> set[str]:
    parser = VisibleText()
    parser.feed(page)
    words = re.findall(r"[A-Za-z][A-Za-z0-9_]*", " ".join(parser.texts))
    return {word for word in words if word.lower() not in ALLOWED}


def test_the_search_for_english_finds_it():
    assert english("<p>Сделка <b title='Save'>AmoCRM</b></p><script>let x</script><i>Delete</i>") == {"Save", "Delete"}


def admin_pages(request: HttpRequest) -> list[str]:
    """Return the addresses of every list, its search and its filters' form, every form and one row of each."""
    urls = [reverse("admin:index"), reverse("traffic-dashboard"), reverse("referral-dashboard")]
    urls += [reverse("traffic-dashboard-sales"), reverse("admin:traffic_adspend_import"), reverse("api-access")]
    for model, model_admin in admin.site._registry.items():
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        urls += [reverse(f"{name}_changelist"), reverse(f"{name}_changelist") + "?q=нет"]
        urls.append(reverse("admin:app_list", args=[model._meta.app_label]))
        row = model._default_manager.order_by("pk").first()
        assert row is not None, f"{model.__name__}: no row to look at"
        urls += [reverse(f"{name}_{page}", args=[row.pk]) for page in ("change", "history")]
        if model_admin.has_delete_permission(request):
            urls.append(reverse(f"{name}_delete", args=[row.pk]))
        if model_admin.has_add_permission(request):
            urls.append(reverse(f"{name}_add"))
    return sorted(set(urls))


@pytest.mark.django_db
def test_no_page_of_the_admin_has_english_words(client: Client):
    one_of_each()
    boss = make_user("boss", superuser=True)
    boss.set_unusable_password()  # the hash on the user's page has letters
    boss.save()
    client.force_login(boss)
    request = RequestFactory().get("/")
    request.user = boss
    left = {}
    for url in admin_pages(request):
        answer = client.get(url)
        assert answer.status_code == 200, url
        if words := english(answer.content.decode()):
            left[url] = words
    assert left == {}


@pytest.mark.django_db
def test_forms_complain_in_russian(client: Client):
    client.force_login(make_user("boss", superuser=True))
    for name in ("traffic_attributionrule", "referrals_referrer", "referrals_commissionplan", "auth_user"):
        page = client.post(reverse(f"admin:{name}_add"), {}).content.decode()
        assert "errornote" in page or "Обязательное поле." in page
        assert english(page) == set()


@pytest.mark.django_db
def test_the_way_in_and_out_is_in_russian(client: Client):
    pages = [client.get("/admin/login/"), client.post("/admin/login/", {"username": "boss", "password": "wrong"})]
    client.force_login(make_user("boss", superuser=True))
    pages += [
        client.get("/admin/password_change/"),
        client.get("/admin/no-such-page/"),
        client.get("/admin/traffic/sale/add/"),
        client.post("/admin/logout/"),
    ]
    assert [page.status_code for page in pages] == [200, 200, 200, 404, 403, 200]
    assert [english(page.content.decode()) for page in pages] == [set()] * len(pages)
