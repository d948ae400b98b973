"""An override is seen by whoever sees its site, and let go by who may deploy there."""

import pytest
from pytest_django import Settings

from deploy_manager.models import Override
from tests.commands import call, call_and_be_refused, events
from tests.overrides import ADVISORY, HeldSite
from tests.parts.admin import ObjectRights, make_user, url, visitor

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("who", "status"), [("editor", 302), ("viewer", 403), ("stranger", 404), ("nobody", 302)]
)
def test_who_may_change_lets_go_with_a_reason(held: HeldSite, who: str, status: int) -> None:
    override = held.hold("1.0.2", "1.0", fixes=[ADVISORY], why="<b>bold</b>")
    client = visitor(who)
    address = url("override_let_go", override.pk)
    page = client.get(address)
    if who == "editor":
        text = page.content.decode()
        assert "Known vulnerabilities come back:" in text
        assert ADVISORY in text
        assert client.post(address, {"reason": ""}).status_code == 200
        assert held.live()
    answer = client.post(address, {"reason": "it breaks the till"})
    assert answer.status_code == status
    override.refresh_from_db()
    assert override.is_live == (who != "editor")
    if who == "editor":
        assert (override.ended_why, override.ended_by_name) == ("it breaks the till", "editor")


def test_a_right_on_one_environment_lets_go_there_alone(
    held: HeldSite, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.AUTHENTICATION_BACKENDS = [
        "django.contrib.auth.backends.ModelBackend",
        "tests.parts.admin.ObjectRights",
    ]
    monkeypatch.setattr(ObjectRights, "granted", set())
    user = make_user("narrow")
    client = visitor("nobody")
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    override = held.hold("1.0.2", "1.0")
    assert client.post(url("override_let_go", override.pk), {"reason": "x"}).status_code == 404
    ObjectRights.grant(user, "change_environment", held.environment)
    assert "shopkit 1.0.2" in client.get(url("override_changelist")).content.decode()
    assert client.post(url("override_let_go", override.pk), {"reason": "x"}).status_code == 302
    assert not held.live()


def test_overrides_are_read_in_the_admin_and_changed_by_nobody(held: HeldSite) -> None:
    held.serve("helper==1.0", "shopkit==1.0.2")
    override = held.hold("1.0.2", "1.0", fixes=[ADVISORY], why="<b>bold</b>")
    odd = held.hold("", "1.0", name="helper", hashes=3, extras={"x": 1})
    Override.objects.filter(pk=odd.pk).update(before="no list", fixes=7)
    owner = visitor("owner")
    for address in (
        url("override_changelist"),
        url("override_change", override.pk),
        url("environment_change", held.environment.pk),
    ):
        page = owner.get(address)
        assert page.status_code == 200
        assert "<b>bold</b>" not in page.content.decode()
        assert "shopkit" in page.content.decode()
    assert owner.get(url("override_add")).status_code == 403
    assert owner.post(url("override_change", override.pk), {"version": "9"}).status_code == 403
    assert owner.post(url("override_delete", override.pk)).status_code == 403


def test_a_command_lists_overrides_and_lets_one_go(held: HeldSite) -> None:
    held.hold("1.0.2", "1.0", why="it greets strangers\x1b]0;x\x07", fixes=[ADVISORY])
    held.hold("", "1.0", name="helper")
    printed = call("overrides", "shop/production")
    assert "\x1b]" not in printed
    for piece in ("shopkit", "1.0.2", "removed", "it greets strangers", ADVISORY, "holds"):
        assert piece in printed
    told = call_and_be_refused("overrides", "shop/production", "--let-go", "shopkit")
    assert "Give a reason" in told
    words = ("overrides", "shop/production", "--let-go", "shopkit", "--reason", "it breaks")
    told = call_and_be_refused(*words)
    assert ADVISORY in told
    assert "--take-back" in told
    assert len(held.live()) == 2
    call(*words, "--take-back")
    assert held.live() == {"helper": ""}
    call("overrides", "shop/production", "--let-go", "helper", "--reason", "it is wanted")
    assert "Nothing is held" in call("overrides", "shop/production")
    *told_events, summary = events(call("overrides", "shop/production", "--all", "--json"))
    assert (summary["event"], summary["live"], summary["ended"]) == ("summary", 0, 2)
    assert {each["ended_how"] for each in told_events} == {Override.End.LET_GO}
