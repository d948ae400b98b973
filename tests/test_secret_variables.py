"""Secret variables are entered in the admin or a terminal, stored sealed, and never shown."""

import html
import io
import logging
import re
from pathlib import Path

import pytest
from django.core.exceptions import ValidationError
from django.core.mail import EmailMessage
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils.log import AdminEmailHandler
from pytest_django import Settings

from deploy_manager.admin.addresses import run_url
from deploy_manager.credentials import Known, sudo_login
from deploy_manager.exceptions import ConfigurationError, InvalidRow, SecretUnreadable
from deploy_manager.logs import mask
from deploy_manager.masking import masking
from deploy_manager.models import Credential, Environment, SecretVariable, Tier
from deploy_manager.models.secret_variables import secret_of
from deploy_manager.sealing import Secret, add_key, private_keys, public_text, seal
from deploy_manager.site_secrets import open_secrets
from tests.commands import call_and_be_refused, events
from tests.inventory import Inventory
from tests.parts.admin import ObjectRights, make_user, url, visitor
from tests.parts.packages import make_environment
from tests.planted import PLANTED, hits
from tests.test_checks import found

pytestmark = [pytest.mark.database, pytest.mark.django_db]

VALUE = "s3cret/va:lue@'1"
OTHER = "-----BEGIN KEY-----\nline one of it\n-----END KEY-----\n"


def put(environment: Environment, name: str = "API_KEY", value: str = VALUE) -> SecretVariable:
    SecretVariable.objects.put(environment, name, Secret(value), "somebody")
    return environment.secret_variables.get(name=name)


def run(*words: str, typed: str = "", monkeypatch: pytest.MonkeyPatch | None = None) -> str:
    out = io.StringIO()
    if monkeypatch is not None:
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    call_command("secret", *words, stdout=out)
    return out.getvalue()


def form_of(client: Client, environment: Environment) -> dict[str, str]:
    """Return what a browser would send of the environment's page, unchanged."""
    response = client.get(url("environment_change", environment.pk))
    data: dict[str, str] = {}
    forms = [response.context["adminform"].form]
    for inline in response.context["inline_admin_formsets"]:
        forms += [inline.formset.management_form, *inline.formset.forms]
    for form in forms:
        for field in form:
            if (value := field.value()) is not None and value is not False:
                data[field.html_name] = value
    return data


def send(client: Client, environment: Environment, **values: str) -> str:
    data = form_of(client, environment) | values
    response = client.post(url("environment_change", environment.pk), data)
    if response.status_code == 302:
        return ""
    errors = [
        (form.prefix, dict(form.errors))
        for inline in response.context["inline_admin_formsets"]
        for form in inline.formset.forms
    ]
    return f"{errors} {response.content.decode()}"


def new_secret(name: str, value: str, number: int = 0) -> dict[str, str]:
    return {
        "secret_variables-TOTAL_FORMS": str(number + 1),
        f"secret_variables-{number}-name": name,
        f"secret_variables-{number}-new_value": value,
    }


def test_a_secret_is_entered_changed_and_kept_in_the_admin(inventory: Inventory) -> None:
    owner, environment = visitor("owner"), inventory.environment
    assert send(owner, environment, **new_secret("API_KEY", VALUE)) == ""
    first = environment.secret_variables.get()
    assert open_secrets(environment).variables == {"API_KEY": Secret(VALUE)}
    assert first.changed_by_name == "owner"

    page = owner.get(url("environment_change", environment.pk)).content.decode()
    assert first.fingerprint in page
    assert VALUE not in page
    assert "s3cret" not in page

    # Blank: unchanged, whatever else is.
    assert send(owner, environment, keep_releases="7") == ""
    assert environment.secret_variables.get().fingerprint == first.fingerprint

    typed = {"secret_variables-0-new_value": OTHER.replace("\n", "\r\n")}
    assert send(owner, environment, **typed) == ""
    environment = Environment.objects.get()
    assert open_secrets(environment).variables == {"API_KEY": Secret(OTHER)}
    assert environment.secret_variables.get().fingerprint != first.fingerprint


def test_what_was_entered_is_not_shown_after_an_error(inventory: Inventory) -> None:
    owner = visitor("owner")
    page = send(owner, inventory.environment, **new_secret("NOT A NAME", VALUE))
    assert "Enter the name of a variable" in page
    assert "s3cret" not in page
    assert "shorter value" in send(owner, inventory.environment, **new_secret("PIN", "abc"))
    assert "Enter its value" in send(owner, inventory.environment, **new_secret("PIN", ""))


def test_a_variable_is_plain_or_secret_but_not_both(inventory: Inventory) -> None:
    owner, environment = visitor("owner"), inventory.environment
    environment.variables = {"API_KEY": "plain"}
    environment.save()
    assert "either plain or secret" in send(owner, environment, **new_secret("API_KEY", VALUE))
    environment.variables = {}
    environment.save()
    put(environment)
    page = send(owner, environment, variables='{"API_KEY": "plain"}')
    assert "either plain or secret" in page
    Environment.objects.update(variables={"API_KEY": "plain"})
    with pytest.raises(InvalidRow, match="API_KEY: a variable is either plain or secret"):
        open_secrets(Environment.objects.get())


def test_only_who_has_the_right_changes_secrets(inventory: Inventory) -> None:
    environment = inventory.environment
    put(environment)
    user = make_user("editor", "view_environment", "change_environment")
    client = Client()
    client.force_login(user)
    page = client.get(url("environment_change", environment.pk)).content.decode()
    assert "API_KEY" in page
    assert "secret_variables-0-new_value" not in page
    send(client, environment, **new_secret("API_KEY", OTHER))
    assert open_secrets(Environment.objects.get()).variables == {"API_KEY": Secret(VALUE)}
    ObjectRights.grant(user, "change_secrets_environment", environment)
    page = client.get(url("environment_change", environment.pk)).content.decode()
    has_backend = "secret_variables-0-new_value" in page
    assert has_backend is user.has_perm("deploy_manager.change_secrets_environment", environment)


def test_no_key_is_said_in_the_form(inventory: Inventory, settings: Settings) -> None:
    settings.DEPLOY_MANAGER = {"CACHE": settings.DEPLOY_MANAGER["CACHE"]}
    page = send(visitor("owner"), inventory.environment, **new_secret("API_KEY", VALUE))
    assert "No key for secrets is configured" in page


def test_a_page_needs_no_key_that_opens_secrets(inventory: Inventory, settings: Settings) -> None:
    environment = inventory.environment
    put(environment)
    Tier.objects.create(environment=environment, kind="redis", name="redis", roles=["app"])
    public = public_text(private_keys()[0].public_key)
    cache = settings.DEPLOY_MANAGER["CACHE"]
    settings.DEPLOY_MANAGER = {"CACHE": cache, "SECRETS_PUBLIC_KEY": public}
    owner = visitor("owner")
    assert send(owner, environment, **{"secret_variables-0-new_value": OTHER}) == ""
    for page in (
        url("environment_changelist"),
        run_url("deploy", [environment.pk]),
    ):
        assert owner.get(page).status_code == 200
    with pytest.raises(ConfigurationError, match="API_KEY can't be opened: No key for secrets"):
        open_secrets(Environment.objects.get())


def test_a_secret_is_set_listed_and_deleted_in_a_terminal(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment = inventory.environment
    site = str(environment)
    assert "API_KEY was set" in run(site, "API_KEY", typed=f"{VALUE}\n", monkeypatch=monkeypatch)
    assert open_secrets(environment).variables == {"API_KEY": Secret(VALUE)}
    (tmp_path / "key").write_text(OTHER)
    assert "PEM was set" in run(site, "PEM", "--from-file", str(tmp_path / "key"))
    assert open_secrets(environment).variables["PEM"] == Secret(OTHER.removesuffix("\n"))
    listed = run(site, "--list")
    assert re.search(r"API_KEY: [0-9a-f]{8}, changed .* by .*@", listed)
    assert events(run(site, "--json"))[-1] == {"event": "summary", "state": "listed", "plain": []}
    assert "s3cret" not in listed
    assert "PEM was deleted" in run(site, "PEM", "--delete")
    assert "no secret variable PEM" in call_and_be_refused("secret", site, "PEM", "--delete")
    monkeypatch.setattr("sys.stdin", io.StringIO("abc\n"))
    assert "at least 4" in call_and_be_refused("secret", site, "PIN")
    monkeypatch.setattr("sys.stdin", io.StringIO(VALUE))
    assert "name of a variable" in call_and_be_refused("secret", site, "9X")


def test_variables_that_look_like_secrets_are_named_and_sealed(inventory: Inventory) -> None:
    environment = inventory.environment
    environment.variables = {
        "DEBUG": "0",
        "API_KEY": VALUE,
        "DATABASE_URL": "postgres://a:b/c@d/e",
    }
    environment.save()
    assert "API_KEY, DATABASE_URL" in found()["W021"].msg
    page = visitor("owner").get(url("environment_change", environment.pk)).content.decode()
    assert "API_KEY, DATABASE_URL" in page
    assert "API_KEY, DATABASE_URL" in run(str(environment), "--list")
    assert "Sealed: API_KEY, DATABASE_URL" in run(str(environment), "--seal")
    environment = Environment.objects.get()
    assert environment.variables == {"DEBUG": "0"}
    assert open_secrets(environment).variables["API_KEY"] == Secret(VALUE)
    assert "W021" not in found()
    assert "no plain variable NONE" in call_and_be_refused(
        "secret", str(environment), "NONE", "--seal"
    )


def test_a_secret_that_cannot_be_opened_is_named(
    inventory: Inventory, settings: Settings, tmp_path: Path
) -> None:
    environment = inventory.environment
    put(environment)
    assert "E020" not in found()
    add_key(tmp_path / "others")
    settings.DEPLOY_MANAGER = {
        **settings.DEPLOY_MANAGER,
        "SECRETS_KEY_FILE": tmp_path / "others",
    }
    with pytest.raises(SecretUnreadable, match="API_KEY can't be opened"):
        open_secrets(environment)
    assert "API_KEY can't be opened" in found()["E020"].msg
    # A web server opens none, and says nothing of it.
    public = public_text(private_keys()[0].public_key)
    settings.DEPLOY_MANAGER = {
        "CACHE": settings.DEPLOY_MANAGER["CACHE"],
        "SECRETS_PUBLIC_KEY": public,
    }
    assert "E020" not in found()


def test_what_credentials_log_in_with_is_masked_where_they_may_be_used(
    inventory: Inventory, tmp_path: Path
) -> None:
    kind, here = Credential.Kind.SUDO, Credential.Source.HERE
    file = tmp_path / "password"
    file.write_text("in-a-file-of-the-worker\n")
    file.chmod(0o600)
    mine, elsewhere = inventory.environment, make_environment("staging", project="blog")
    Credential.objects.create(name="all", kind=kind, source=here, secret=Secret("for-all-of-them"))
    Credential.objects.create(
        name="mine", kind=kind, source="file", reference=str(file), environment=mine
    )
    Credential.objects.create(
        name="other", kind=kind, source=here, secret=Secret("elsewhere-only"), environment=elsewhere
    )
    put(mine)
    known = {secret.value.strip() for secret in open_secrets(mine).all}
    assert known == {VALUE, "for-all-of-them", "in-a-file-of-the-worker"}


@pytest.mark.parametrize("kind", Credential.Kind.values)
def test_secrets_of_every_kind_are_masked_whatever_credential_has_them(
    inventory: Inventory, kind: str
) -> None:
    host = "127.0.0.1" if kind in Credential.OF_HOSTS else ""
    row = Credential(name="one", kind=kind, source=Credential.Source.HERE, host=host)
    for name, value in PLANTED.items():
        row.put(Secret(value), Secret(f"{name} of {value}"))
        row.save()
        with masking(open_secrets(inventory.environment).all):
            assert hits(mask(value.encode())) == set()
            assert mask(f"{name} of {value}".encode()).startswith(b"[masked]")


def test_secrets_of_every_kind_are_masked_once_a_command_has_printed_them(
    inventory: Inventory, settings: Settings, tmp_path: Path
) -> None:
    commands = {"vault": ["cat", "{}"]}
    settings.DEPLOY_MANAGER = {**settings.DEPLOY_MANAGER, "SECRET_COMMANDS": commands}
    file = tmp_path / "secret"
    Credential.objects.create(
        name="root", kind="sudo", source="command", command="vault", reference=str(file)
    )
    placement = inventory.environment.placements.get()
    login = sudo_login(Known.load(), placement.server, inventory.environment, "deploy")
    assert login
    for value in PLANTED.values():
        file.write_text(value)
        with masking(open_secrets(inventory.environment).all):
            assert "://" in value or hits(mask(value.encode()))  # logins in URLs always are
            login.password.open()
            assert hits(mask(value.encode())) == set()


def test_a_row_written_around_the_forms_is_checked_by_the_worker(inventory: Inventory) -> None:
    variable = put(inventory.environment)
    SecretVariable.objects.filter(pk=variable.pk).update(value=seal(Secret("abc")))
    with pytest.raises(InvalidRow, match="API_KEY: Enter at least 4"):
        open_secrets(Environment.objects.get())
    SecretVariable.objects.filter(pk=variable.pk).update(value=None)
    with pytest.raises(SecretUnreadable, match="API_KEY has no value"):
        open_secrets(Environment.objects.get())
    with connection.cursor() as cursor:
        cursor.execute("UPDATE deploy_manager_secretvariable SET value = 'in plain'")
    with pytest.raises(SecretUnreadable, match="API_KEY can't be opened: A secret is not sealed"):
        open_secrets(Environment.objects.get())


def test_a_tier_that_needs_a_password_gets_one_which_is_sealed(inventory: Inventory) -> None:
    environment = inventory.environment
    cache = Tier.objects.create(environment=environment, kind="redis", name="redis")
    web = Tier.objects.create(environment=environment, kind="nginx", name="nginx")
    secrets = open_secrets(Environment.objects.get())
    assert set(secrets.tiers) == {cache.pk}
    assert len(secrets.tiers[cache.pk].value) == 48
    web.refresh_from_db()
    assert web.secret is None
    cache.refresh_from_db()
    cache.save()
    assert open_secrets(Environment.objects.get()) == secrets


@pytest.mark.parametrize("text", ["", "abc", " abc ", "a\0bcd", "\ud800bcd", "masked", "x" * 70000])
def test_what_cannot_be_a_secret_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValidationError) as refused:
        secret_of(text)
    assert not text or repr(text) not in repr(refused.value)


@pytest.mark.parametrize("is_html", [False, True])
def test_the_mail_about_an_error_shows_nothing_that_was_entered(
    inventory: Inventory,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    mailoutbox: list[EmailMessage],
    is_html: bool,
) -> None:
    settings.ADMINS = [("Ops", "ops@example.org")]
    handler = AdminEmailHandler(include_html=is_html)
    logger = logging.getLogger("django.request")
    logger.addHandler(handler)
    owner = visitor("owner")
    owner.raise_request_exception = False
    data = form_of(owner, inventory.environment) | new_secret("API_KEY", VALUE)

    def fail(*_args: object) -> None:
        raise RuntimeError("the disk is full")

    monkeypatch.setattr("deploy_manager.models.secret_field.seal", fail)
    try:
        response = owner.post(url("environment_change", inventory.environment.pk), data)
    finally:
        logger.removeHandler(handler)
    assert response.status_code == 500
    text = "".join(str(mail.message()) for mail in mailoutbox)
    assert "the disk is full" in text
    assert "s3cret" not in text
    assert "s3cret" not in html.unescape(text)
