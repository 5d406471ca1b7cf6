from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.test import Client
from pytest_django import Settings

from notifications import telegram
from notifications.models import TelegramChat
from notifications.pacing import Limits, Pacer
from notifications.sender import Sender
from referrals.cabinet import access, tokens
from referrals.cabinet.models import LandingPage, LinkedChat, OneTimeToken
from referrals.models import Referrer
from tests.fakes import TOKEN, FakeBotApi

SignIn = Callable[[Referrer], Client]


@pytest.fixture
def dana(db: None) -> Referrer:
    return Referrer.objects.create(
        code="ref_dana", name="Дана", phone="+7 (701) 000-00-01", email="dana@example.kz", claimed=True
    )


@pytest.fixture
def erzhan(db: None) -> Referrer:
    return Referrer.objects.create(code="ref_erzhan", name="Ержан", claimed=True)


@pytest.fixture
def course(db: None) -> LandingPage:
    return LandingPage.objects.create(title="Курс", url="https://example.kz/course?lang=ru#top")


@pytest.fixture
def chat(dana: Referrer) -> TelegramChat:
    """Dana's chat with the bot."""
    chat = TelegramChat.objects.create(chat_id=7, title="Дана", kind=TelegramChat.Kind.REFERRER)
    LinkedChat.objects.create(referrer=dana, chat=chat)
    return chat


@pytest.fixture
def sign_in() -> SignIn:
    """Return a browser that is signed in to a referrer's cabinet."""

    def browser(referrer: Referrer) -> Client:
        token = tokens.token_issue(referrer=referrer, purpose=OneTimeToken.Purpose.SIGN_IN)
        client = Client()
        secret = access.session_begin(token=token)
        assert secret is not None
        client.cookies[access.COOKIE] = secret
        return client

    return browser


@pytest.fixture
def api(settings: Settings) -> Iterator[FakeBotApi]:
    with FakeBotApi() as server:
        settings.TELEGRAM_API_URL = server.url
        settings.TELEGRAM_BOT_TOKEN = TOKEN
        yield server


@pytest.fixture
def sender(api: FakeBotApi) -> Iterator[Sender]:
    limits = Limits(chat_seconds=0, group_per_minute=1000, total_per_second=1000)
    with telegram.Bot(TOKEN) as bot:
        yield Sender(bot, pacer=Pacer(limits))
