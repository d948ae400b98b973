"""No text of any table is forgotten: each is refused in words or kept as it is, way by way."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from django import forms
from django.contrib import admin
from django.contrib.auth.models import User
from django.core import serializers
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import DatabaseError, models, transaction
from django.http import HttpRequest, QueryDict
from django.test import RequestFactory

from deploy_manager.exceptions import DeployManagerError
from deploy_manager.messages import Message
from deploy_manager.models.message_field import MessageField
from tests.parts.hostile import make_rows
from tests.parts.hostile_fields import (
    PLACES,
    TRIED,
    Known,
    is_text,
    own_models,
    table,
    texts_of,
    tried_by,
)
from tests.parts.injection import CANARY, VALUES
from tests.parts.matrices import few

FormClass = Any
"""A class of forms of a model, as the admin makes it."""

OF_FORMS, OF_ROWS, OF_DUMPS = (few(*range(number)) for number in (24, 40, 60))
"""Slices of the values: those of the first one are tried each time, the others with --long."""


@pytest.fixture(autouse=True)
def canary() -> Iterator[None]:
    """Nothing has made the canary, whatever the test did."""
    yield
    assert not Path(CANARY).exists()


@pytest.fixture
def asking(db: None, rf: RequestFactory) -> HttpRequest:
    """A request of somebody who may do everything."""
    request = rf.get("/")
    request.user = User.objects.create(username="root", is_staff=True, is_superuser=True)
    return request


def test_every_text_of_every_table_says_what_it_reaches_and_how_it_is_tried() -> None:
    models_of = own_models()
    there = {f"{each.__name__}.{field.name}" for each in models_of for field in texts_of(each)}
    known = table()
    assert there == known.keys()
    for each in known.values():
        assert each.reaches, f"{each} reaches nothing? Then say so."
        assert each.reaches <= PLACES
        assert {"rows"} <= each.tried <= TRIED
    assert len(VALUES) > 400


def test_what_a_form_takes_is_tried_by_that_form(asking: HttpRequest) -> None:
    of_forms = {name for form, names in forms_of(asking, "form") for name in names}
    of_inlines = {name for form, names in forms_of(asking, "inline") for name in names}
    assert {str(each) for each in tried_by("form")} == of_forms
    assert {str(each) for each in tried_by("inline")} == of_inlines


def test_all_that_is_deployed_is_looked_at_before() -> None:
    """What only comes with a request, or is stored sealed, was looked at when it was written."""
    unchecked = {str(each) for each in tried_by("deployed") if "prepared" not in each.tried}
    assert unchecked == {
        "Deployment.requested_by_name",
        "Deployment.reason",
        "SecretVariable.value",
    }


def forms_of(request: HttpRequest, kind: str) -> Iterator[tuple[FormClass, list[str]]]:
    """Yield each form of the admin that changes a row, with the texts of ours in it."""
    for model, pages in admin.site._registry.items():
        if model._meta.app_label != "deploy_manager" or not pages.has_change_permission(request):
            continue
        found: list[Any] = [pages.get_form(request)] if kind == "form" else []
        if kind == "inline":
            for inline in pages.get_inline_instances(request):
                if inline.has_change_permission(request):
                    found.append(inline.get_formset(request).form)
        for form in found:
            of = form._meta.model
            texts = {field.name for field in texts_of(of)}
            yield form, [f"{of.__name__}.{name}" for name in form.base_fields if name in texts]


CHECKED = [each for each in table().values() if each.tried & {"form", "inline", "prepared"}]


@pytest.mark.parametrize("known", CHECKED, ids=str)
def test_each_value_is_refused_in_words_or_stays_what_it_is(known: Known) -> None:
    tried = [text for value in VALUES for text in known.spoilt(value)]
    assert len(tried) >= len(VALUES)
    for text in tried:
        try:
            kept = known.field.clean(text, known.model())
        except ValidationError as error:
            assert_in_words(error.messages)
        else:
            assert kept == text or isinstance(known.field, MessageField)


def assert_in_words(messages: Sequence[str]) -> None:
    assert all(message.strip() for message in messages)
    assert not any("Traceback" in message for message in messages)


def sound_data(form: FormClass) -> dict[str, str]:
    """Return what a person could have typed."""
    model = form._meta.model.__name__
    found = {name: known.sound for name, known in table().items() if name.startswith(f"{model}.")}
    sound = {name.partition(".")[2]: value for name, value in found.items()}
    return {
        name: str(sound.get(name, 1 if isinstance(field, forms.IntegerField) else ""))
        for name, field in form.base_fields.items()
    }


def texts_for(field: forms.Field, known: Known, value: str) -> list[str]:
    """Return what would be typed, or sent by who has no browser."""
    if isinstance(field, forms.JSONField):
        return [json.dumps(each) for each in known.spoilt(value)]
    return [value, known.sound + value]


@pytest.mark.parametrize("part", OF_FORMS)
@pytest.mark.parametrize("kind", ["form", "inline"])
def test_forms_refuse_in_words_or_keep_what_was_sent(
    asking: HttpRequest, kind: str, part: int
) -> None:
    make_rows()
    known = table()
    for form, names in forms_of(asking, kind):
        for value in VALUES[part :: len(OF_FORMS)]:
            sent = sound_data(form)
            for name in names:
                field = name.partition(".")[2]
                typed = texts_for(form.base_fields[field], known[name], value)
                sent[field] = typed[len(value) % len(typed)]
            errors = errors_of(form, sent)
            assert_in_words([text for texts in errors.values() for text in texts])
            # Then without what was refused: the rest has to be stored exactly.
            sound = sound_data(form)
            assert_stored(form, {**sent, **{name: sound.get(name, "") for name in errors}})


def as_sent(sent: dict[str, str]) -> QueryDict:
    """Return it as Django reads it from a request, whose bytes can be anything."""
    text = urlencode({name: value.encode(errors="surrogatepass") for name, value in sent.items()})
    return QueryDict(text.encode())


def errors_of(form: FormClass, sent: dict[str, str]) -> dict[str, list[str]]:
    made = form(as_sent(sent))
    return {name: [str(each) for each in texts] for name, texts in made.errors.items()}


def assert_stored(form: FormClass, sent: dict[str, str]) -> None:
    """What a form lets through fits its columns, and comes back from them as it was sent."""
    made = form(as_sent(sent))
    for name in made.cleaned_data if made.is_valid() else ():
        field = made.instance._meta.get_field(name) if name in made.base_fields else None
        if isinstance(field, models.Field) and is_text(field) and field.editable:
            field.clean(made.cleaned_data[name], made.instance)


@pytest.mark.parametrize("part", OF_ROWS)
def test_rows_written_around_forms_come_back_as_they_are(db: None, part: int) -> None:
    """A column keeps it exactly, or it is not stored at all."""
    make_rows()
    for model in own_models():
        row = model._default_manager.first()
        assert row, f"{model.__name__} has no row: write one in tests/parts/hostile.py"
        for value in VALUES[part :: len(OF_ROWS)]:
            for each in texts_known_of(model):
                spoilt = list(each.spoilt(value))
                if spoilt:
                    assert_written(row, each.field, spoilt[len(value) % len(spoilt)])


def texts_known_of(model: type[models.Model]) -> list[Known]:
    return [known for known in table().values() if known.model is model]


def assert_written(row: models.Model, field: "models.Field[Any, Any]", value: object) -> None:
    table_of: models.QuerySet[Any] = models.QuerySet(type(row)).filter(
        pk=row.pk
    )  # around what some tables refuse
    try:
        with transaction.atomic():
            table_of.update(**{field.attname: value})
            kept = table_of.values_list(field.attname, flat=True).get()
            assert bytes(kept) == value if isinstance(value, bytes) else is_same(kept, value)
            transaction.set_rollback(True)
    except (DatabaseError, UnicodeEncodeError, DeployManagerError):
        return  # the database, or the column, has no such text


def is_same(kept: Any, value: object) -> bool:
    # A message is masked, and put into words when it is read.
    return bool(kept == value) or isinstance(kept, Message)


@pytest.mark.parametrize("part", OF_DUMPS)
def test_rows_of_a_dump_are_loaded_as_they_are_or_refused(
    db: None, part: int, tmp_path: Path
) -> None:
    make_rows()
    rows = [each for model in own_models() for each in model._default_manager.all()[:1]]
    dump = json.loads(serializers.serialize("json", rows))
    file = tmp_path / "dump.json"
    for value in VALUES[part :: len(OF_DUMPS)]:
        file.write_text(json.dumps([spoilt_row(each, value) for each in dump]))
        try:
            with transaction.atomic():
                call_command("loaddata", str(file), verbosity=0)
                transaction.set_rollback(True)
        except (DatabaseError, UnicodeEncodeError, serializers.base.DeserializationError) as error:
            assert_in_words([str(error).encode(errors="replace").decode()])


def spoilt_row(row: dict[str, Any], value: str) -> dict[str, Any]:
    """Return a row of a dump with this text in each column that has text and no choices."""
    model = row["model"].partition(".")[2]
    known = {name.lower(): each for name, each in table().items()}
    fields = dict(row["fields"])
    for name in fields:
        each = known.get(f"{model}.{name}")
        spoilt = list(each.spoilt(value)) if each and not each.field.choices else []
        if spoilt and not isinstance(spoilt[0], bytes):
            fields[name] = spoilt[0]
    return {**row, "fields": fields}
