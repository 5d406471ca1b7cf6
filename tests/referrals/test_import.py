from __future__ import annotations

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from onai_project import roles
from referrals.models import Conversion, Referrer, ReferrerGroup
from referrals.referrers import ALPHABET, referrers_import, referrers_read
from tests.onai_project.rows import make_user
from tests.referrals.helpers import tell, won

pytestmark = pytest.mark.django_db

GOOD = "код;имя;телефон;почта;группа\nREF_Dana;Дана;+7 700 000 00 01;d@x.kz;Блогеры\n;Ержан;;;\n"


@pytest.fixture
def bloggers(db: None) -> ReferrerGroup:
    return ReferrerGroup.objects.create(name="Блогеры")


def test_a_table_is_taken_in(bloggers):
    assert referrers_import(GOOD).is_good
    dana, erzhan = Referrer.objects.order_by("name")
    assert (dana.code, dana.name, dana.phone, dana.email) == ("ref_dana", "Дана", "+7 700 000 00 01", "d@x.kz")
    assert (dana.group, dana.claimed) == (bloggers, True)
    assert (len(erzhan.code), set(erzhan.code[4:]) <= set(ALPHABET), erzhan.group) == (11, True, None)


def test_a_code_that_sales_came_by_gets_its_owner_and_its_hold_is_off():
    tell(won(utm_source="ref_dana"))
    read = referrers_read("code,name\nref_dana,Дана\n")
    assert (read.rows[0].claims, Conversion.objects.get().hold_reason) == (True, "unclaimed")
    referrers_import("code,name\nref_dana,Дана\n")
    assert (Referrer.objects.get().name, Conversion.objects.get().hold_reason) == ("Дана", "")


def test_checking_saves_nothing(bloggers):
    assert referrers_read(GOOD).is_good
    assert not Referrer.objects.exists()


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("dana,Дана,,,", "Код начинается с ref_"),
        ("ref_dana,,,,", "Нет имени."),
        (",Дана,12,,", "Это не номер телефона."),
        (",Дана,,at,", "Это не адрес почты."),
        (",Дана,,,Друзья", "Группы с таким названием нет."),
        ("ref_taken,Дана,,,", "У этого кода уже есть владелец."),
        (",Дана,87010000002,,", "Тот же телефон или почта у ref_taken."),
        (",Дана,+7 705 000 00 09,,", "То же, что в строке 2."),
    ],
)
def test_every_wrong_line_says_what_is_wrong_and_nothing_is_taken_in(line: str, error: str):
    Referrer.objects.create(code="ref_taken", claimed=True, phone="+7 (701) 000-00-02")
    text = f"code,name,phone,email,group\n,Ержан,8 705 000 00 09,,\n{line}\n"
    read = referrers_import(text)
    (wrong,) = read.wrong
    assert wrong.line == 3
    assert any(error in one for one in wrong.errors)
    assert Referrer.objects.count() == 1


@pytest.mark.parametrize(
    ("text", "problem"), [("", "Файл пуст."), ("a,b\n1,2\n", "названия столбцов"), ("имя\n", "Под заголовком")]
)
def test_a_file_that_is_none_says_so(text: str, problem: str):
    assert problem in referrers_read(text).problem


def test_a_line_that_can_not_be_read_is_said():
    assert "Строка 3: Это не прочитать" in referrers_read(f'имя\nДана\n"{"x" * 140_000}"\n').problem
    assert "Строка 2: Это не прочитать" in referrers_read('имя\n"Дана\nЕржан\n').problem


def test_a_mac_files_ends_of_lines_are_read():
    assert [row.name for row in referrers_read("имя;код\rДана;\rЕржан;\r").rows] == ["Дана", "Ержан"]


def test_the_page_checks_first_and_takes_in_what_was_checked(client: Client, bloggers):
    client.force_login(make_user("refs", role=roles.REFERRAL_MANAGER))
    url = reverse("admin:referrals_referrer_import")
    page = client.post(url, {"file": SimpleUploadedFile("r.csv", GOOD.encode("cp1251"))})
    assert "Принять 2 рефереров" in page.content.decode()
    assert not Referrer.objects.exists()
    checked = page.context["form"].initial["checked"]
    assert client.post(url, {"checked": checked, "confirm": "1"}).status_code == 302
    assert Referrer.objects.count() == 2


def test_the_page_asks_for_a_file(client: Client):
    client.force_login(make_user("refs", role=roles.REFERRAL_MANAGER))
    assert "Выберите файл." in client.post(reverse("admin:referrals_referrer_import"), {}).content.decode()


def test_the_page_says_that_a_file_is_too_large_and_takes_in_all_that_it_checked(client: Client):
    client.force_login(make_user("refs", role=roles.REFERRAL_MANAGER))
    url = reverse("admin:referrals_referrer_import")
    page = client.post(url, {"file": SimpleUploadedFile("r.csv", b"x" * (2 * 1024 * 1024 + 1))})
    assert "Файл слишком большой" in page.content.decode()
    text = "имя;заметка\r\nДана;" + "x" * 100_000 + "\r\n" + f";{'x' * 1000}\r\n".join([""] * 1900)
    page = client.post(url, {"file": SimpleUploadedFile("r.csv", text.encode())})
    assert page.context["form"].initial["checked"] == text
    assert client.post(url, {"checked": text, "confirm": "1"}).status_code == 200


def test_the_page_survives_nul_bytes(client: Client):
    client.force_login(make_user("refs", role=roles.REFERRAL_MANAGER))
    url = reverse("admin:referrals_referrer_import")
    page = client.post(url, {"file": SimpleUploadedFile("r.csv", "имя\nДа\x00на\n".encode())})
    assert [row.name for row in page.context["result"].rows] == ["Дана"]
