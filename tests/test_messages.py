"""Messages: a reason and parameters, in words only where they are read."""

import ast
import copy
import json
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
from django.core import serializers
from django.db import connection
from django.db.models import Value
from django.utils import translation
from django.utils.translation import gettext_lazy, gettext_noop

from deploy_manager import exceptions
from deploy_manager.exceptions import (
    CommandFailed,
    DeployManagerError,
    HostUnreachable,
    RequestRefused,
)
from deploy_manager.isolation import explain
from deploy_manager.messages import REASONS, Message, join, message_of, ngettext
from deploy_manager.models import Deployment, Problem, State
from deploy_manager.models.message_field import MessageField
from tests.inventory import Inventory
from tests.parts.admin import write_deployment
from tests.test_architecture import room_of, sources

CANCELLED = Message(gettext_noop("Cancelled by %(who)s."), "cancelled", who="ana")
UNREACHABLE = Message(
    gettext_noop("%(where)s refuses connections: check that sshd is running on that port."),
    "host_unreachable",
    where="web1",
)
TEMPLATES = ["%s", "%(x)s", "%(x)", "%(who)999999999s", "100 %", "%", "%(who)", "%%(who)s", "{who}"]


def in_french(message: object) -> str:
    with translation.override("fr"):
        return str(message)


def test_the_reader_chooses_the_language() -> None:
    assert str(CANCELLED) == "Cancelled by ana."
    assert in_french(CANCELLED) == "Annulé par ana."


def test_it_reads_like_text() -> None:
    assert CANCELLED == "Cancelled by ana."
    assert CANCELLED == "Cancelled by ana."
    assert Message(CANCELLED) == CANCELLED
    assert Message("Cancelled by ana.") != CANCELLED  # the same words without the reason
    assert "ana" in CANCELLED
    assert CANCELLED.startswith("Cancelled")
    assert f"{CANCELLED}" == "Cancelled by ana."
    assert len({CANCELLED, Message(CANCELLED)}) == 1
    assert not Message()
    assert Message() == ""


def test_a_message_in_a_message_is_translated_too_and_lends_its_reason() -> None:
    outer = Message("%(server)s: %(why)s", server="web1", why=CANCELLED)
    assert in_french(outer) == "web1\N{NO-BREAK SPACE}: Annulé par ana."
    assert str(outer) == "web1: Cancelled by ana."
    assert outer.code == "cancelled"


def test_a_lazy_text_among_the_parameters_is_translated_for_the_reader() -> None:
    with translation.override("fr"):
        message = Message("it is %(state)s", state=State.FAILED.label)
    assert str(message) == "it is failed"
    assert in_french(message) == "it is échoué"
    assert in_french(Message(gettext_lazy("failed"))) == "échoué"


def test_lines_keep_the_reasons_of_each() -> None:
    lines = Message.lines(UNREACHABLE, "", Message(), "plain words", CANCELLED)
    assert lines.splitlines()[1:] == ["plain words", "Cancelled by ana."]
    assert lines.codes == ["host_unreachable", "cancelled"]


def test_a_number_chooses_the_template() -> None:
    texts = (
        "Nothing to do: %(count)d package is as new as this policy allows.",
        "Nothing to do: %(count)d packages are as new as this policy allows.",
    )
    one, many = ngettext(*texts, 1), ngettext(*texts, 2)
    assert (str(one), str(many)) == (texts[0] % {"count": 1}, texts[1] % {"count": 2})
    assert "2 paquets" in in_french(Message.of_json(many.as_json()))


def test_joined_messages_stay_messages() -> None:
    assert in_french(join([CANCELLED, "b"], "; ")) == "Annulé par ana.\N{NO-BREAK SPACE}; b"


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_that_can_not_be_filled_shows_its_gaps(template: str) -> None:
    for message in (Message(template, who="me"), Message(template)):
        assert isinstance(str(message), str)
        assert len(str(message)) < 100
    assert str(Message(template)) == template


ODD: list[Any] = [
    *(
        None,
        True,
        0,
        1.5,
        "words",
        "",
        {},
        [],
        {"a": 1},
        [None],
        [[[]]],
        [1, "x"],
        ["\ud800", "\0"],
    ),
    [{"text": 5}],
    [{"code": {}, "text": "%(a)s", "params": ["a"]}],
    [{"code": "x" * 500, "text": "%(a)s %(b)s", "params": {"a": None, "b": {"c": [1]}}}],
    [{"text": "%(a)s", "params": {"a": [{"text": "%(b)s", "params": {"b": "\ud800"}}]}}],
    [{"text": "%(count)d", "params": {"count": "x"}, "plural": 5}],
    [{"text": "%(count)d", "params": {"count": 2}, "plural": "%(x)s"}],
]


def as_any_database_takes_it(data: Any) -> str:
    """PostgreSQL itself refuses what is no text; SQLite takes all but NUL."""
    text = json.dumps(data).replace("\\u0000", "?")
    return text.replace("\\ud800", "?") if connection.vendor == "postgresql" else text


@pytest.mark.database
@pytest.mark.parametrize("data", ODD, ids=repr)
def test_whatever_a_row_holds_is_shown(inventory: Inventory, data: Any) -> None:
    deployment = write_deployment(inventory.environment)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE deploy_manager_deployment SET message = %s WHERE id = %s",
            [as_any_database_takes_it(data), deployment.pk],
        )
    deployment.refresh_from_db()
    for language in ("en", "fr"):
        with translation.override(language):
            str(deployment.message).encode()
    deployment.save()  # and what was read can be written again
    assert len(deployment.message.code) <= 50


def test_a_row_too_deep_or_with_a_number_too_long_is_shown(inventory: Inventory) -> None:
    deployment = write_deployment(inventory.environment)
    deep: Any = "x"
    for _level in range(30):
        deep = [{"text": "%(a)s", "params": {"a": deep}}]
    assert Message.of_json(deep)
    field = Deployment._meta.get_field("message")
    assert isinstance(field, MessageField)
    for text in ("[" * 100_000 + "]" * 100_000, f"[{'9' * 5000}]", "not JSON"):
        assert str(field.from_db_value(text, Value(""), connection))
    assert deployment.message == ""


@pytest.mark.database
def test_rows_are_found_by_the_reason(inventory: Inventory) -> None:
    deployment = write_deployment(inventory.environment)
    Deployment.objects.update(message=UNREACHABLE)
    found = Deployment.objects.filter(message__0__code="host_unreachable")
    assert found.get() == deployment
    assert not Deployment.objects.filter(message__0__code="cancelled")
    assert Deployment.objects.filter(message=UNREACHABLE).exists()
    assert not Deployment.objects.filter(message="").exists()
    assert Deployment.objects.values_list("message__0__code", flat=True).get() == "host_unreachable"


@pytest.mark.database
def test_it_comes_back_from_a_row_as_it_was(inventory: Inventory) -> None:
    whole = Message.lines(
        Message("%(server)s: %(why)s", server="web1", why=UNREACHABLE), "100 % plain %(x)s"
    )
    deployment = write_deployment(inventory.environment, message=whole)
    deployment.clean_fields(exclude=["finished_at", "cancel_requested_at", "opens_at"])
    deployment.refresh_from_db()
    assert deployment.message == whole
    french = in_french(deployment.message)
    assert french.startswith("web1\N{NO-BREAK SPACE}: web1 refuse les connexions")
    (again,) = serializers.deserialize("json", serializers.serialize("json", [deployment]))
    assert getattr(again.object, "message", None) == whole


def test_text_is_a_message_as_soon_as_it_is_assigned(inventory: Inventory) -> None:
    assert Deployment(message="words").message.codes == []
    assert Deployment(message=CANCELLED).message.code == "cancelled"
    assert Deployment().message == ""


@pytest.mark.database
def test_passwords_are_masked_wherever_they_stand(inventory: Inventory) -> None:
    secret = "https://me:hunter2@example.org/x"
    message = Message.lines(
        secret, Message("%(a)s", a=secret), Message("%(b)s", b=Message("%(a)s", a=secret))
    )
    deployment = write_deployment(inventory.environment, message=message)
    with connection.cursor() as cursor:
        cursor.execute("SELECT message FROM deploy_manager_deployment")
        assert "hunter2" not in str(cursor.fetchall())
    deployment.refresh_from_db()
    assert str(deployment.message).count("[masked]") == 3


def test_a_problem_keeps_no_more_than_it_shows(db: None) -> None:
    long = Message("%(a)s", a="x" * 10_000)
    Problem.objects.note(long, job="a job", kind="", key=0)
    assert len(Problem.objects.get().text) == 2000
    _pk, is_new = Problem.objects.note(long, job="a job", kind="", key=0)
    assert not is_new


def test_an_error_has_a_message_with_the_reason_of_its_class() -> None:
    error = HostUnreachable(
        gettext_noop("%(where)s refuses connections: check that sshd is running on that port."),
        where="web1",
    )
    assert error.message == UNREACHABLE
    assert in_french(error).startswith("web1 refuse les connexions")
    assert DeployManagerError(CANCELLED).message.code == "cancelled"
    assert DeployManagerError("x", "server_removed").message.code == "server_removed"


@pytest.mark.parametrize(
    "again",
    [
        copy.copy,
        copy.deepcopy,
        lambda e: pickle.loads(pickle.dumps(e)),  # noqa: S301
    ],
)
def test_an_error_can_be_copied_and_sent(again: Any) -> None:
    error = again(CommandFailed(gettext_noop("Cancelled by %(who)s."), exit_code=3, who="ana"))
    assert isinstance(error, CommandFailed)
    assert (str(error), error.exit_code) == ("Cancelled by ana.", 3)
    assert in_french(again(exceptions.ClaimLost())) != str(exceptions.ClaimLost())


def test_an_error_among_the_parameters_is_translated_too() -> None:
    error = RequestRefused("Not done: %(why)s", why=HostUnreachable(UNREACHABLE))
    assert "refuse les connexions" in in_french(error)
    assert error.message.code == "request_refused"


def test_any_other_error_has_a_message_too() -> None:
    assert explain(ValueError("x")) == "ValueError: x"
    assert explain(ValueError("x")).code == "unexpected_error"
    assert message_of(ValueError(CANCELLED)) == CANCELLED
    assert message_of(KeyError("x")) == "'x'"


def classes_below(cls: type[DeployManagerError]) -> set[type[DeployManagerError]]:
    return {cls, *(each for below in cls.__subclasses__() for each in classes_below(below))}


def test_every_error_has_a_reason_with_a_label() -> None:
    codes = {
        each.code
        for each in classes_below(DeployManagerError)
        if each.__module__.startswith("deploy_manager")
    }
    assert codes <= REASONS.keys()


def test_every_reason_is_in_the_docs_and_none_more() -> None:
    page = (Path(__file__).parent.parent / "docs/reasons.md").read_text()
    assert re.findall(r"^\| `(\w+)` \|", page, re.M) == sorted(REASONS)


def engines() -> list[Path]:
    return [path for path in sources() if room_of(path) not in {"admin", "cli", "management"}]


def test_code_gives_only_reasons_that_are_known() -> None:
    """They are the second argument of a message, and of the errors."""
    names = {each.__name__ for each in classes_below(DeployManagerError)} | {"Message"}
    unknown = [
        f"{path.name}:{node.lineno}: {node.args[1].value!r}"
        for path in engines()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names
        if len(node.args) > 1 and isinstance(node.args[1], ast.Constant)
        if node.args[1].value not in REASONS
    ]
    assert not unknown


def test_no_error_is_frozen_in_the_language_of_its_writer() -> None:
    """An f-string, or a text that is filled at once, could never be read in another language."""
    names = {each.__name__ for each in classes_below(DeployManagerError)}
    frozen = [
        f"{path.name}:{node.lineno}"
        for path in engines()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names
        if node.args and isinstance(node.args[0], (ast.JoinedStr, ast.BinOp))
    ]
    assert not frozen
