"""The cabinet's addresses, all below /r/: the session's cookie goes nowhere else."""

from __future__ import annotations

from django.urls import path

from referrals.cabinet import bot, sign_in, views

app_name = "cabinet"
urlpatterns = [
    path("", views.home, name="home"),
    path("sales/", views.sales, name="sales"),
    path("sales.csv", views.sales_csv, name="sales-csv"),
    path("qr/<int:page>.svg", views.qr, name="qr"),
    path("payouts/", views.payouts, name="payouts"),
    path("payouts/<int:number>/", views.payout_statement, name="payout"),
    path("settings/", views.settings_page, name="settings"),
    path("settings/messages/", views.messages_save, name="messages"),
    path("settings/telegram/", views.telegram_link, name="telegram"),
    path("settings/telegram/off/", views.telegram_unlink, name="telegram-off"),
    path("in/", sign_in.ask, name="sign-in"),
    path("open/", sign_in.confirm, name="open"),
    path("out/", sign_in.sign_out, name="sign-out"),
    path("out/everywhere/", sign_in.sign_out_everywhere, name="sign-out-everywhere"),
    path("bot/", bot.webhook, name="bot"),
]
