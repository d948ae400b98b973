"""Hostile text of any row is text on every page; no page fails by what a form is sent."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin

import pytest
from django.core import serializers
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import DatabaseError, models, transaction
from django.test import Client

from deploy_manager.admin.addresses import run_url
from deploy_manager.exceptions import DeployManagerError
from deploy_manager.models import Environment
from tests.parts.admin import visitor
from tests.parts.hostile import make_rows
from tests.parts.hostile_fields import Known, own_models, table
from tests.parts.injection import CANARY, VALUES
from tests.parts.matrices import few
from tests.parts.pages import Form, Page
from tests.test_admin_hostile_rows import addresses

pytestmark = pytest.mark.django_db

TURNS = few(*range(48), first=1)
"""In each turn every text of every row is another one: in 48 turns the long ones had all values."""

SENT = (*VALUES[::23],)
"""Those that are sent over HTTP, to each control of each form."""


@pytest.fixture(autouse=True)
def canary() -> Iterator[None]:
    """Nothing has made the canary, whatever the test did."""
    yield
    assert not Path(CANARY).exists()


@pytest.fixture
def environment(db: None) -> Environment:
    return make_rows()


@pytest.fixture
def owner(environment: Environment) -> Client:
    client = visitor("owner")
    client.raise_request_exception = False
    return client


def spoil(turn: int) -> None:
    """Write hostile text into every column that has text, in all tables."""
    for number, known in enumerate(table().values()):
        rows: models.QuerySet[Any] = models.QuerySet(known.model)
        if known.field.choices and turn % 4:
            continue  # a choice that is none hides what else its row shows
        for value in hostile_for(known, turn + number):
            try:
                with transaction.atomic():
                    rows.filter(pk=rows.order_by("pk").values("pk")[:1]).update(
                        **{known.field.attname: value}
                    )
                break
            except (DatabaseError, UnicodeEncodeError, DeployManagerError):
                continue  # the database or the column refuses it


def hostile_for(known: Known, turn: int) -> Iterator[Any]:
    """Yield what its column is given in a turn: long ones get as many values as fit."""
    ours = VALUES[(turn * 9) % len(VALUES) :] + VALUES[: (turn * 9) % len(VALUES)]
    encodable = [value for value in ours if "\ud800" not in value and "\0" not in value]
    limit = known.field.max_length or 400
    text = encodable[0]
    for value in encodable[1:]:
        if len(text) + len(value) < limit and len(text) < 400:
            text = f"{text} {value}"
    spoilt = list(known.spoilt(text))
    yield from spoilt[turn % len(spoilt) :] if spoilt else ()
    yield from spoilt


def pages(client: Client, environment: Environment) -> Iterator[tuple[str, str]]:
    """Yield every page of ours that can be opened, as a browser gets it."""
    asking = [run_url(recipe, [environment.pk]) for recipe in ("deploy", "rollback", "converge")]
    for address in [*addresses(), *asking]:
        for query in ({}, {"environment": environment.pk, "on": environment.pk}):
            answer = client.get(address, query if address not in asking else {})
            assert answer.status_code != 500, f"{address}: {vars(answer).get('exc_info')}"
            if answer.status_code == 200 and "html" in answer["Content-Type"]:
                yield address, answer.content.decode()
                break


@pytest.mark.parametrize("turn", TURNS)
def test_hostile_text_of_any_row_is_text_on_every_page(
    environment: Environment, owner: Client, turn: int
) -> None:
    spoil(turn)
    wrong, seen, shown = {}, 0, 0
    for address, text in pages(owner, environment):
        page = Page(text)
        seen += 1
        shown += CANARY in text
        if page.wrong:
            wrong[address] = page.wrong
    assert not wrong
    assert seen > 60
    assert shown > 25


@pytest.mark.parametrize(
    "text",
    [
        "<b onclick=x>",
        "<script>x</script>",
        "<a href=' java\tscript:x'>",
        "<iframe src=/>",
        f"<!--{CANARY}-->",
        "<p \"'=x>",
        "<button formaction=data:x>",
        "<?php x ?>",
    ],
)
def test_what_would_run_in_a_browser_is_noticed(text: str) -> None:
    assert Page(f"<!doctype html><p>{text}</p>").wrong


@dataclass
class Sender:
    """Sends a page's forms with hostile text in them, and notes what goes wrong."""

    client: Client
    environment: Environment
    wrong: list[str] = field(default_factory=list)
    refused: int = 0
    taken: int = 0

    def forms(self) -> Iterator[tuple[str, Form]]:
        for address, text in pages(self.client, self.environment):
            for form in Page(text).forms:
                if form.method == "post" and "logout" not in form.action:
                    yield urljoin(address, form.action) or address, form

    def send(self, address: str, values: dict[str, str], uploads: list[str]) -> None:
        """Send one; what was written is taken back."""
        before = rows_now()
        with transaction.atomic():
            answer = self._post(address, values, uploads)
            is_refused = (
                answer.status_code in (200, 400, 403, 404, 409) and not answer.redirect_chain
            )
            self._judge(answer, f"{address} {str(values)[:2000]}")
            if is_refused and "_popup" not in values:
                self.refused += 1
                if rows_now() != before:
                    self.wrong.append(f"{address}: refused, and written: {str(values)[:500]}")
            self.taken += not is_refused
            transaction.set_rollback(True)

    def _post(self, address: str, values: dict[str, str], uploads: list[str]) -> Any:
        if uploads:
            text = next(iter(values.values()), "x")
            files = {name: SimpleUploadedFile(text[:50], as_bytes(text)) for name in uploads}
            plain = {
                name: as_bytes(value).decode(errors="replace") for name, value in values.items()
            }
            return self.client.post(address, {**plain, **files}, follow=True)
        kind = "application/x-www-form-urlencoded"
        body = urlencode({name: as_bytes(value) for name, value in values.items()})
        return self.client.post(address, body, content_type=kind, follow=True)

    def _judge(self, answer: Any, what: str) -> None:
        if answer.status_code == 500:
            self.wrong.append(f"{what}: {vars(answer)['exc_info'][1]!r}")
        elif "html" in answer["Content-Type"]:
            self.wrong += [f"{what}: {each}" for each in Page(answer.content.decode()).wrong]


def as_bytes(value: str) -> bytes:
    return value.encode(errors="surrogatepass")


def rows_now() -> str:
    """Return all rows but those of the audit, which keeps what was tried as well."""
    models_of = [model for model in own_models() if model.__name__ != "AuditEvent"]
    tables: list[models.QuerySet[Any]] = [models.QuerySet(model) for model in models_of]
    rows = [row for each in tables for row in each.order_by("pk")]
    return str(serializers.serialize("json", rows))


def with_new_rows(form: Form) -> dict[str, str]:
    """Return what is sent with one more row in each inline."""
    sent = {}
    for name, value in form.values.items():
        prefix, _dash, rest = name.partition("-__prefix__")
        if rest:
            number = form.values[f"{prefix.removeprefix('initial-')}-TOTAL_FORMS"]
            sent[f"{prefix}-{number}{rest}"] = value
        elif name.endswith("-TOTAL_FORMS"):
            sent[name] = str(int(value or 0) + 1)
        else:
            sent[name] = value
    return sent


def controls_of(form: Form) -> list[str]:
    """Return the controls that text is sent by, those of new rows as they are numbered."""
    typed = {name.replace("-__prefix__", "-") for name in form.typed}
    names = list(with_new_rows(form))
    return [name for name in names if re.sub(r"-\d+-", "--", name) in typed or name in form.typed]


@pytest.mark.parametrize("value", few(*SENT))
def test_every_control_of_every_form_takes_hostile_text_or_refuses_it(
    environment: Environment, owner: Client, value: str
) -> None:
    sender = Sender(owner, environment)
    for address, form in list(sender.forms()):
        sent = with_new_rows(form) | dict.fromkeys(controls_of(form), value)
        for button in form.buttons[:1] if form.typed else ():
            sender.send(address, {**sent, button[0]: button[1]}, form.uploads)
    assert not sender.wrong
    assert sender.refused > 10


@pytest.mark.long
@pytest.mark.parametrize("part", range(20))
def test_and_each_of_them_alone(environment: Environment, owner: Client, part: int) -> None:
    """Hidden ones and choices as well, which only somebody without a browser changes."""
    sender = Sender(owner, environment)
    for address, form in list(sender.forms()):
        names = [name for name in with_new_rows(form) if name != "csrfmiddlewaretoken"]
        for number, name in list(enumerate(names))[part::20]:
            value = VALUES[number % len(VALUES)]
            for button in form.buttons:
                sent = {**with_new_rows(form), button[0]: button[1], name: value}
                sender.send(address, sent, form.uploads)
    assert not sender.wrong
