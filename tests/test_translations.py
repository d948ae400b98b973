"""French: complete, compiled, in agreement with Django's own words, and shown by every page."""

import gettext
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import django
import polib
import pytest
from django.contrib.auth.models import User
from django.test import Client

import deploy_manager
from deploy_manager.models import Deployment, Server, State, Step
from tests.inventory import Inventory, make_inventory
from tests.parts.admin import MODELS, make_shop, url, visitor, write_deployment, write_output

PACKAGE = Path(deploy_manager.__file__).parent
MESSAGES = Path("locale/fr/LC_MESSAGES")
ENGLISH = re.compile(r"\b(the|of|is|are|was|no|not|this|with|by|yet|it|server|step|new)\b", re.I)
PLACEHOLDER = re.compile(r"%(?:\(\w+\))?[a-z]|%%s|\{\w*\}")
COMMANDS = re.compile(r"\S*[/.@:_]\S+|#\d+ \w+")
"""Paths, names, addresses and recipes: the same in every language."""

Catalog = dict[str | tuple[str, int], str]


def run_gettext(*command: str, folder: Path) -> str:
    """Run a program of GNU gettext, or Django's command that needs them."""
    assert shutil.which("msgfmt"), "msgfmt is missing: apt-get install gettext"
    known = {name: text for name, text in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run(
        command, cwd=folder, env=known, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def read_catalog(file: Path) -> Catalog:
    with file.open("rb") as opened:
        catalog: Catalog = dict(vars(gettext.GNUTranslations(opened))["_catalog"])
    return catalog


@pytest.fixture
def compiled(tmp_path: Path) -> Catalog:
    """What the .po file says; without the entries that are fuzzy or have no translation."""
    target = tmp_path / "django.mo"
    source = PACKAGE / MESSAGES / "django.po"
    run_gettext("msgfmt", "--check-format", f"--output-file={target}", str(source), folder=tmp_path)
    return read_catalog(target)


def english_of(key: str | tuple[str, int]) -> str:
    text = key[0] if isinstance(key, tuple) else key
    return text.rpartition("\x04")[2]


def texts_of(file: Path) -> set[str]:
    return set(re.findall(r'^(?:msgid|msgctxt) ".+"$', file.read_text(), re.M))


def test_every_text_of_the_code_is_in_the_catalog(tmp_path: Path) -> None:
    copy = tmp_path / "deploy_manager"
    leave_out = shutil.ignore_patterns("__pycache__", "*.mo")
    shutil.copytree(PACKAGE, copy, ignore=leave_out)
    words = ("-l", "fr", "--no-location", "--no-wrap", "--no-obsolete")
    run_gettext(sys.executable, "-m", "django", "makemessages", *words, folder=copy)
    found, kept = (texts_of(place / MESSAGES / "django.po") for place in (copy, PACKAGE))
    assert found - kept == set(), "Run script/messages."
    assert kept - found == set(), "These texts are no longer in the code."


def test_every_text_is_translated_and_none_is_doubtful(tmp_path: Path) -> None:
    source = str(PACKAGE / MESSAGES / "django.po")
    for doubt in ("--untranslated", "--only-fuzzy", "--only-obsolete"):
        assert "msgid" not in run_gettext("msgattrib", doubt, source, folder=tmp_path), doubt


def test_texts_are_in_order_and_undated_so_that_branches_seldom_touch_the_same_lines() -> None:
    catalog = polib.pofile(str(PACKAGE / MESSAGES / "django.po"))
    texts = [(entry.msgid, entry.msgctxt or "") for entry in catalog]
    assert texts == sorted(texts), "Run script/messages."
    assert "POT-Creation-Date" not in catalog.metadata, "Run script/messages."


def test_what_an_installation_compiled_is_what_was_translated(compiled: Catalog) -> None:
    assert read_catalog(PACKAGE / MESSAGES / "django.mo") == compiled, "Run script/setup."


def test_placeholders_are_the_same_in_both_languages(compiled: Catalog) -> None:
    for key, french in compiled.items():
        if key:
            expected = sorted(PLACEHOLDER.findall(english_of(key)))
            assert sorted(PLACEHOLDER.findall(french)) == expected, english_of(key)


def test_signs_have_the_space_that_french_has_before_them(compiled: Catalog) -> None:
    code = re.compile(r":all:|:none:|coding:|Content-Type:|Authorization:")
    without = re.compile(r"[^\s:;?!'\"][:;?!](?=\s|$)")
    texts = [code.sub("", french) for key, french in compiled.items() if key]
    assert [french for french in texts if without.search(french)] == []


def test_no_text_contradicts_djangos_own_words(compiled: Catalog) -> None:
    """All catalogs are merged: ours would change the words of other apps' pages."""
    top = Path(django.__file__).parent
    for file in [top / "conf" / MESSAGES, *top.glob(f"contrib/*/{MESSAGES}")]:
        theirs = read_catalog(file / "django.mo")
        for key in (compiled.keys() & theirs.keys()) - {""}:
            assert compiled[key] == theirs[key], f"{key!r}: give it a context"


class Words(HTMLParser):
    """Collects what a person reads or hears of a page."""

    SPOKEN = ("title", "aria-label", "placeholder", "alt")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self._silent = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._silent += tag in ("script", "style", "code", "pre", "textarea")
        given = dict(attrs)
        names = [name for name in given if name in self.SPOKEN or name.startswith("data-text-")]
        if given.get("type") == "submit":
            names.append("value")
        self.found += [text for name in names if (text := given.get(name))]

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in ("script", "style", "code", "pre", "textarea")

    def handle_data(self, data: str) -> None:
        if not self._silent and data.strip():
            self.found.append(data.strip())


def assert_french(page: str, compiled: Catalog) -> None:
    """No text of ours in English, and no sentence that reads like it."""
    assert '<html lang="fr"' in page
    french = {text.casefold() for text in compiled.values()}
    english = {english_of(key).casefold() for key in compiled} - french
    read = Words(page).found
    assert [words for words in read if words.casefold() in english] == []
    assert [words for words in read if ENGLISH.search(COMMANDS.sub("", words))] == []


@pytest.fixture
def site(tmp_path: Path, db: None) -> Inventory:
    """`shop/production` of a real repository, on two servers and an SSH server without a key."""
    made = make_inventory(tmp_path, make_shop(tmp_path / "shop")[0])
    made.add_server("one")
    made.add_server("two", roles=("worker",))
    Server.objects.create(name="far", address="192.0.2.1", user="shop")
    return made


@pytest.fixture
def reader(db: None) -> Client:
    """The owner, whose browser asks for French."""
    client = visitor("owner")
    # Each page greets its reader, and “owner” is a word that has to be translated elsewhere.
    User.objects.filter(username="owner").update(username="zoe")
    client.defaults["HTTP_ACCEPT_LANGUAGE"] = "fr"
    return client


def read(client: Client, address: str, **sent: str) -> str:
    answer = client.post(address, sent) if sent else client.get(address)
    assert answer.status_code == 200
    return str(answer.content.decode())


@pytest.mark.parametrize("model", MODELS)
def test_lists_and_forms_are_french(
    model: str, site: Inventory, reader: Client, compiled: Catalog
) -> None:
    write_deployment(site.environment, state=State.FAILED)
    for name in (f"{model}_changelist", f"{model}_add"):
        if name in ("deployment_add", "lockfile_add", "release_add") or model == "placement":
            continue
        assert_french(read(reader, url(name)), compiled)


def test_the_page_of_an_environment_and_its_requirements_are_french(
    site: Inventory, reader: Client, compiled: Catalog
) -> None:
    pk = site.environment.pk
    assert_french(read(reader, url("environment_change", pk)), compiled)
    address = url("environment_requirements", pk)
    assert_french(read(reader, address), compiled)
    assert_french(read(reader, address, text="django==5.2.3"), compiled)
    assert_french(read(reader, address, text=" "), compiled)


@pytest.mark.parametrize("recipe", ["deploy", "maintenance_up", "ping"])
def test_what_would_happen_is_reported_in_french(
    recipe: str, site: Inventory, reader: Client, compiled: Catalog
) -> None:
    page = read(reader, url("environment_run", recipe, on=site.environment.pk))
    assert_french(page, compiled)
    assert "sur shop/production" in page


def test_a_busy_environment_is_reported_in_french(
    site: Inventory, reader: Client, compiled: Catalog
) -> None:
    write_deployment(site.environment, state=State.RUNNING)
    page = read(reader, url("environment_run", "ping", on=site.environment.pk))
    assert_french(page, compiled)
    assert "en cours" in page


@pytest.mark.parametrize("state", [state for state in State if state is not State.SKIPPED])
def test_a_deployments_page_is_french(
    state: State, site: Inventory, reader: Client, compiled: Catalog
) -> None:
    titles = ("Check out the latest code", "Verify")
    of_hosts = State.FAILED if state is State.PARTLY_FAILED else state
    deployment = write_deployment(site.environment, state=of_hosts, titles=titles)
    Deployment.objects.filter(pk=deployment.pk).update(state=state)
    Step.objects.update(message="Cancelled before it began.")
    write_output(Step.objects.filter(number=1)[0], b"output\n")
    page = read(reader, url("deployment_change", deployment.pk))
    assert_french(page, compiled)
    assert "1. Récupérer le dernier code" in page
    news = reader.get(url("deployment_progress", deployment.pk)).json()
    assert news["deployment"]["label"] == compiled[state.value.replace("_", " ")]
    assert news["chunks"][0]["title"] == "1. Récupérer le dernier code"
