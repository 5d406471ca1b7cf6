from __future__ import annotations

from datetime import date
from decimal import Decimal
from io import BytesIO

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import IntegrityError
from django.test import Client
from django.urls import reverse

from onai_project import roles
from onai_project.periods import Period
from tests.onai_project.rows import make_user
from traffic.filters import Filters
from traffic.models import AdSpend, Targetologist
from traffic.spend.entries import SpendLine, spend_of, store_spend
from traffic.spend.files import read_spend
from traffic.spend.people import slugs_by_name

pytestmark = pytest.mark.django_db

DAY = date(2025, 12, 20)
MONTH = Period(date(2025, 12, 1), date(2025, 12, 31))
SLUGS = {"kenesary": "kenesary", "muha": "muha", "muha 🚀": "muha"}
GOOD = "date;targetologist;campaign;amount\n2025-12-20;kenesary;tripwire;25000\n20.12.2025;Muha;;40 000,5\n"
AMBIGUOUS = "«%s» можно прочесть двояко: напишите %s или не больше двух цифр после запятой."
UNREADABLE = "Это не прочитать: кавычка пропущена или стоит без пары, либо текст слишком длинный."
IMPORT = "/admin/traffic/adspend/import/"


@pytest.fixture
def head(client: Client) -> Client:
    client.force_login(make_user("head", role=roles.HEAD_OF_TRAFFIC))
    return client


def entries() -> set[tuple[date, str, str, Decimal]]:
    return set(AdSpend.objects.values_list("date", "targetologist", "campaign", "amount"))


WANTED = {(DAY, "kenesary", "tripwire", Decimal(25_000)), (DAY, "muha", "", Decimal(40_001))}


@pytest.mark.parametrize(
    "content",
    [
        GOOD.encode(),
        b"\xef\xbb\xbf" + GOOD.encode(),
        GOOD.replace("\n", "\r").encode(),
        GOOD.replace("kenesary", "kene\x00sary").encode(),
        GOOD.replace(";", "\t").encode(),
        GOOD.replace("\n", "\r\n").encode() + b";;;\r\n",
        "Сумма;Кампания;Таргетолог;Дата\n25 000 ₸;tripwire;kenesary;20.12.2025\n40000.5;;muha 🚀;20/12/2025".encode(),
        "дата;таргетолог;кампания;сумма\n20.12.25;KENESARY;tripwire;25\u00a0000\n20.12.25;muha; ;40000,5".encode(
            "cp1251"
        ),
    ],
    ids=["plain", "bom", "mac", "nul", "tabs", "crlf", "russian", "cp1251"],
)
def test_a_file_is_read_as_people_make_it(content):
    read = read_spend(content, SLUGS)
    assert read.errors == []
    assert {(line.date, line.targetologist, line.campaign, line.amount) for line in read.lines} == WANTED
    assert read.total == 65_001


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("2025-13-01;muha;;5", "«2025-13-01» — не дата."),
        (";muha;;5", "«» — не дата."),
        ("0001-01-01;muha;;5", "«0001-01-01» — не дата."),
        ("2025-12-20;nobody;;5", "Нет таргетолога «nobody»."),
        ("2025-12-20;muha;;много", "«много» — не сумма в тенге."),
        ("2025-12-20;muha;;-5", "«-5» — не сумма в тенге."),
        ("2025-12-20;muha;;1e9", "«1e9» — не сумма в тенге."),
        ("2025-12-20;muha;;NaN", "«NaN» — не сумма в тенге."),
        ("2025-12-20;muha;;1 00", "«1 00» — не сумма в тенге."),
        ("2025-12-20;muha;;25,000", AMBIGUOUS % ("25,000", "25000")),
        ("2025-12-20;muha;;25.000 ₸", AMBIGUOUS % ("25.000 ₸", "25000")),
        ("2025-12-20;muha;;25,000.50", "«25,000.50» — не сумма в тенге."),
        ('2025-12-20;muha;"a;5', UNREADABLE),
        ('2025-12-20;muha;"' + "x" * 140_000 + '";5', UNREADABLE),
        ("2025-12-20;muha;;" + "9" * 40, "«" + "9" * 40 + "» — слишком много."),
        ("2025-12-20;muha;" + "x" * 501 + ";5", "Кампания длиннее 500 знаков."),
        ("20.12.2025;kenesary;tripwire;1", "То же, что в строке 2."),
        ("2025-12-20", "Нет таргетолога «»."),
    ],
)
def test_what_is_wrong_is_said_by_line(line, error):
    read = read_spend((GOOD + line).encode(), SLUGS)
    assert [(wrong.line, wrong.text) for wrong in read.errors] == [(4, error)]


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "Файл пуст."),
        (b"date;amount\n", "Нет столбца targetologist."),
        (b"date;targetologist;amount\n\n", "Под заголовками ничего нет."),
        (b"\x00\x01\x02", "Нет столбца date, targetologist, amount."),
    ],
)
def test_a_file_that_is_none_is_refused(content, error):
    assert [wrong.text for wrong in read_spend(content, SLUGS).errors] == [error]


def test_the_page_checks_first_and_imports_on_the_second_click(head):
    page = head.post(IMPORT, {"check": "", "file": BytesIO(GOOD.encode())})
    assert page.context["outcome"].new == 2
    assert not AdSpend.objects.exists()
    head.post(IMPORT, {"import": "", "text": page.context["text"]})
    assert entries() == WANTED
    assert set(AdSpend.objects.values_list("author__username", flat=True)) == {"head"}


def test_the_page_says_what_can_not_be_read(head):
    page = head.post(IMPORT, {"check": "", "file": BytesIO(GOOD.encode() + b'2025-12-20;muha;"a;5')})
    assert [error.line for error in page.context["errors"]] == [4]
    assert UNREADABLE in page.content.decode()


def test_what_was_checked_can_be_imported_however_large(head):
    """Django takes 2.5 MB of fields in a form, and of a form that is no multipart one three bytes for a letter."""
    text = GOOD + "".join(f"2025-12-21;muha;{'весна ' * 40}{n};1\n" for n in range(4_300))
    assert 1_900_000 < len(text.encode()) < 2 * 1024 * 1024
    page = head.post(IMPORT, {"check": "", "file": BytesIO(text.encode())})
    assert page.content.decode().count('enctype="multipart/form-data"') == 2
    # As a browser sends it: with "\r\n".
    answer = head.post(IMPORT, {"import": "", "text": page.context["text"].replace("\n", "\r\n")})
    assert answer.status_code == 302
    assert AdSpend.objects.count() == 4_302


@pytest.mark.parametrize("text", ["x" * (2 * 1024 * 1024 + 1), "я" * (1024 * 1024 + 1)])
def test_a_file_that_could_not_come_back_is_refused_at_once(head, text):
    page = head.post(IMPORT, {"check": "", "file": BytesIO(text.encode("cp1251"))})
    assert "Файл слишком большой: в нём может быть 2 МБ текста в UTF-8." in page.content.decode()


def test_a_file_imported_twice_is_there_once_and_a_corrected_one_corrects(head):
    for text in (GOOD, GOOD, GOOD.replace("25000", "26000")):
        outcome = head.post(IMPORT, {"check": "", "file": BytesIO(text.encode())}).context["outcome"]
        head.post(IMPORT, {"import": "", "text": text})
    assert (outcome.new, outcome.changed, outcome.same) == (0, 1, 1)
    assert entries() == {(DAY, "kenesary", "tripwire", Decimal(26_000)), (DAY, "muha", "", Decimal(40_001))}


def test_one_wrong_line_imports_nothing(head):
    text = GOOD + "2025-12-20;nobody;;5"
    page = head.post(IMPORT, {"import": "", "text": text})
    assert [error.line for error in page.context["errors"]] == [4]
    assert not AdSpend.objects.exists()


def test_a_targetologist_imports_nothing_and_enters_nothing(client):
    client.force_login(make_user("muha", role=roles.TARGETOLOGIST))
    assert client.get(IMPORT).status_code == 403
    assert client.post(IMPORT, {"import": "", "text": GOOD}).status_code == 403
    assert client.get(reverse("admin:traffic_adspend_add")).status_code == 403


def test_the_head_of_traffic_enters_spend_by_hand(head):
    data = {"date": "20.12.2025", "targetologist": "muha", "campaign": "  tripwire  ", "amount": "500"}
    assert head.post(reverse("admin:traffic_adspend_add"), data).status_code == 302
    assert entries() == {(DAY, "muha", "tripwire", Decimal(500))}
    again = head.post(reverse("admin:traffic_adspend_add"), data)
    assert "Расход этого дня, таргетолога и кампании уже внесён." in again.content.decode()


def test_the_database_refuses_what_can_not_be():
    with pytest.raises(IntegrityError):
        AdSpend.objects.create(date=DAY, targetologist_id="muha", amount=-1)


def test_the_form_refuses_a_negative_amount():
    with pytest.raises(ValidationError):
        AdSpend(date=DAY, targetologist_id="muha", amount=-1).full_clean()


def test_a_targetologist_is_called_by_slug_or_name():
    assert slugs_by_name()["muha"] == slugs_by_name()["muha 🚀"] == "muha"


def test_the_command_imports_and_says_what_it_did(tmp_path, capsys):
    file = tmp_path / "spend.csv"
    file.write_text(GOOD)
    call_command("import_ad_spend", str(file), "--dry-run")
    assert "would be imported: new 2" in capsys.readouterr().out
    assert not AdSpend.objects.exists()
    call_command("import_ad_spend", str(file))
    assert entries() == WANTED


def test_the_command_says_which_line_is_wrong(tmp_path, capsys):
    file = tmp_path / "spend.csv"
    file.write_text(GOOD + "x;muha;;5")
    with pytest.raises(CommandError):
        call_command("import_ad_spend", str(file))
    assert "line 4" in capsys.readouterr().err


@pytest.fixture
def spent() -> None:
    store_spend(
        lines=[
            SpendLine(DAY, "kenesary", "a", Decimal(10)),
            SpendLine(DAY, "muha", "a", Decimal(20)),
            SpendLine(DAY, "muha", "", Decimal(300)),
            SpendLine(date(2026, 1, 1), "muha", "a", Decimal(5000)),
        ],
        author=None,
    )


@pytest.mark.parametrize(
    ("filters", "total"),
    [
        (Filters(), 330),
        (Filters(line="muha"), 320),
        (Filters(campaign="a"), 30),
        (Filters(campaign="b"), None),
        (Filters(campaign="a", line="muha"), 20),
        (Filters(line="arystan"), None),
        (Filters(line="unknown"), None),
        (Filters(line="referral"), None),
        (Filters(source="fb"), None),
        (Filters(medium="cpc"), None),
        (Filters(funnel="express"), None),
        (Filters(text="a"), None),
        (Filters(campaign=""), None),
    ],
)
def test_cost_is_not_known_below_the_level_at_which_it_was_entered(spent, filters, total):
    assert spend_of(MONTH, make_user("boss", superuser=True), filters).total == total


def test_spend_is_summed_by_targetologist_day_and_campaign(spent):
    spend = spend_of(MONTH, make_user("boss", superuser=True))
    assert spend.by_line == {"kenesary": 10, "muha": 320}
    assert spend.by_day == {DAY: 330}
    assert spend.by_campaign == {"a": 30, "": 300}


def test_a_targetologist_sees_only_their_own_spend(spent, client):
    user = make_user("kenesary", role=roles.TARGETOLOGIST)
    Targetologist.objects.filter(slug="kenesary").update(user=user)
    assert spend_of(MONTH, user).total == 10
    client.force_login(user)
    page = client.get(reverse("admin:traffic_adspend_changelist"))
    assert [row.amount for row in page.context["cl"].result_list] == [10]
    others = AdSpend.objects.get(campaign="", targetologist="muha")
    assert client.get(reverse("admin:traffic_adspend_change", args=[others.pk])).status_code == 302
