"""Notices arrive at real servers; what fails is told without the secrets in URLs."""

import logging
import sys
from collections.abc import Callable
from email.message import Message
from urllib.parse import urlencode

import pytest
from pytest_django import Settings

from deploy_manager.conf import get_settings
from deploy_manager.exceptions import ConfigurationError, NotificationFailed
from deploy_manager.notifications import sending
from deploy_manager.notifications.sending import check_targets, send
from tests.parts.matrices import few
from tests.parts.processes import free_port
from tests.parts.receivers import Mailbox, Silence, Webhook, receiving

SECRET = "hunter2-s3cret"

Notify = Callable[..., None]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(sending, "SECONDS", 60.0)  # a busy machine may take long to start Python


@pytest.fixture
def notify(settings: Settings) -> Notify:
    """Set who can be told."""

    def change(**targets: str) -> None:
        settings.DEPLOY_MANAGER = {**settings.DEPLOY_MANAGER, "NOTIFY": targets}

    return change


def webhook(port: int) -> str:
    return f"json://deployer:{SECRET}@127.0.0.1:{port}/hooks/{SECRET}"


def mailbox(port: int, **options: str) -> str:
    asked = urlencode({"from": "deploy@example.org", "to": "ada@example.org", **options})
    return f"mailto://deployer:{SECRET}@127.0.0.1:{port}?mode=insecure&{asked}"


def text_of(mail: Message) -> str:
    parts = [part for part in mail.walk() if part.get_content_maintype() == "text"]
    payload = parts[-1].get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode()


def test_a_webhook_is_reported(notify: Notify) -> None:
    with receiving(Webhook) as receiver:
        notify(team=webhook(receiver.port))
        send("team", "shop/production: deploy #7 failed", "Requested by ada.\none: failed")
    (told,) = receiver.told
    assert told["title"] == "shop/production: deploy #7 failed"
    assert told["message"] == "Requested by ada.\none: failed"


def test_a_mail_arrives(notify: Notify) -> None:
    with receiving(Mailbox) as receiver:
        notify(team=mailbox(receiver.port, format="text"))
        send("team", "Deployed\nBcc: eve@example.org", "Requested by ada.\n.\none: été")
    (mail,) = receiver.mails
    assert mail["Subject"] == "Deployed Bcc: eve@example.org"
    assert mail["Bcc"] is None
    assert "ada@example.org" in mail["To"]
    assert text_of(mail).split() == ["Requested", "by", "ada.", ".", "one:", "été"]


def test_what_looks_like_a_tag_is_text_in_a_mail_of_html(notify: Notify) -> None:
    with receiving(Mailbox) as receiver:
        notify(team=mailbox(receiver.port, format="html"))
        send("team", "Deployed", "<img src=x>")
    text = text_of(receiver.mails[0])
    assert "&lt;img" in text
    assert "<img" not in text


def test_a_notice_without_text_says_its_title(notify: Notify) -> None:
    with receiving(Webhook) as receiver:
        notify(team=webhook(receiver.port))
        send("team", "Deployed", "")
    assert receiver.told[0]["message"] == "Deployed"


@pytest.mark.parametrize("status", few(401, 500))
def test_a_refused_notice_is_reported_without_its_url(
    notify: Notify, status: int, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with receiving(Webhook) as receiver:
        receiver.status = status
        notify(team=webhook(receiver.port))
        with pytest.raises(NotificationFailed, match="'team' is down or refused") as told:
            send("team", "Deployed", "All is well.")
    assert receiver.told
    written = "".join([str(told.value), caplog.text, *capfd.readouterr()])
    assert SECRET not in written
    assert str(receiver.port) not in written


@pytest.mark.parametrize("url", few(webhook, mailbox))
def test_a_server_that_is_down_is_reported_without_its_url(
    notify: Notify, url: Callable[[int], str]
) -> None:
    notify(team=url(free_port()))
    with pytest.raises(NotificationFailed, match="'team' is down or refused") as told:
        send("team", "Deployed", "All is well.")
    assert SECRET not in str(told.value)


@pytest.mark.parametrize("url", few(webhook, mailbox))
def test_a_server_that_never_answers_is_left(
    notify: Notify, url: Callable[[int], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "SECONDS", 2.0)
    with receiving(Silence) as receiver:
        notify(team=url(receiver.port))
        # It never answers: an answer in these words has left it.
        with pytest.raises(NotificationFailed, match="'team' was not notified within 2 s") as told:
            send("team", "Deployed", "All is well.")
    assert SECRET not in str(told.value)


@pytest.mark.parametrize("url", few(SECRET, f"nosuch://{SECRET}", "", "json://"))
def test_a_url_that_nobody_can_read_is_reported_without_it(
    notify: Notify,
    url: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    notify(team=url)
    with pytest.raises(NotificationFailed, match="can't read the URL of 'team'") as told:
        send("team", "Deployed", "All is well.")
    assert SECRET not in "".join([str(told.value), caplog.text, *capfd.readouterr()])


def test_an_unknown_target_is_reported_with_those_that_are_known(notify: Notify) -> None:
    notify(team=webhook(1), ada=webhook(1))
    with pytest.raises(NotificationFailed) as told:
        send("taem", "Deployed", "All is well.")
    assert str(told.value) == "DEPLOY_MANAGER['NOTIFY'] has no 'taem'. Known targets: ada, team."


def test_targets_are_checked_and_nobody_is_reported(notify: Notify) -> None:
    with receiving(Webhook) as receiver:
        notify(team=webhook(receiver.port), wrong=f"nosuch://{SECRET}")
        problems = check_targets(["team", "wrong", "nobody"])
    assert not receiver.told
    assert problems == [
        "apprise can't read the URL of 'wrong' in DEPLOY_MANAGER['NOTIFY'].",
        "DEPLOY_MANAGER['NOTIFY'] has no 'nobody'. Known targets: team, wrong.",
    ]


def test_a_process_that_can_not_be_started_is_reported(
    notify: Notify, monkeypatch: pytest.MonkeyPatch
) -> None:
    notify(team=webhook(1))
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(NotificationFailed, match=r"'team' was not notified: .*nowhere"):
        send("team", "Deployed", "All is well.")


@pytest.mark.parametrize("value", [["json://x"], {"team": 1}, {1: "json://x"}, None])
def test_the_setting_is_a_dictionary_of_texts(settings: Settings, value: object) -> None:
    settings.DEPLOY_MANAGER = {"NOTIFY": value}
    with pytest.raises(ConfigurationError, match="names and apprise URLs"):
        get_settings()


def test_settings_that_are_printed_show_no_url(notify: Notify) -> None:
    notify(team=webhook(1))
    assert SECRET not in repr(get_settings())
