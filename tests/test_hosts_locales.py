"""All that runs on a server speaks UTF-8, whatever the locale of the account there is."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deploy_manager.recipes import Site, get_recipe
from tests.parts.guards import Place, place_at
from tests.parts.hosts import OpenAddress
from tests.parts.sshd import Sshd, StartSshd, open_folder
from tests.recipe_site import make_archive

TELL = """
import locale, os, sys
locale.setlocale(locale.LC_ALL, "")
print(os.environ["NAME"], "…", sys.stdout.encoding, sys.getfilesystemencoding())
print(os.environ.get("LANG"), locale.nl_langinfo(locale.CODESET), os.listdir("ordner-ü"))
print(open("ordner-ü/日本.txt").read())
"""
OLD_C = "LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0"
"""What Python takes for ASCII, as every locale of that name was once."""

ACCOUNTS = {
    "POSIX": OLD_C,
    "a locale that is not there": "LC_ALL=xx_XX.ISO-8859-1 PYTHONUTF8=0 PYTHONCOERCECLOCALE=0",
    "a language that is not there": "LANG=xx_XX.ISO-8859-1 PYTHONUTF8=0 PYTHONCOERCECLOCALE=0",
    "Python of its own mind": "LC_ALL=C.UTF-8 PYTHONIOENCODING=latin-1 PYTHONUTF8=0",
    "ISO-8859-1": "LOCPATH={made} LC_ALL=de_DE.ISO-8859-1",
    "ISO-8859-1 and UTF-8": "LOCPATH={made} LC_CTYPE=de_DE.ISO-8859-1 LANG=C.UTF-8",
}


@pytest.fixture(scope="session")
def made() -> Iterator[Path]:
    """A folder of locales with one that is not UTF-8, where this machine can make one."""
    with open_folder() as folder:
        make_locales(folder)
        yield folder


def make_locales(folder: Path) -> None:
    target = folder / "de_DE.ISO-8859-1"
    make = ["localedef", "-c", "-i", "de_DE", "-f", "ISO-8859-1", str(target)]
    subprocess.run(make, capture_output=True, check=False)
    if target.is_dir():
        shutil.copytree("/usr/lib/locale/C.utf8", folder / "C.utf8")


@pytest.fixture(params=list(ACCOUNTS.values()), ids=list(ACCOUNTS))
def odd(
    request: pytest.FixtureRequest,
    start_sshd: StartSshd,
    ssh_settings: object,
    made: Path,
) -> Iterator[Place]:
    """A deploy path of an account with a locale of its own."""
    if "{made}" in request.param and not list(made.iterdir()):
        pytest.fail("localedef has nothing to make a locale of here: apt-get install locales")
    place = place_at(odd_sshd(start_sshd, request.param.format(made=made)))
    yield place
    place.end()


def odd_sshd(start_sshd: StartSshd, variables: str) -> Sshd:
    return start_sshd(ForceCommand=f'export {variables}; eval "$SSH_ORIGINAL_COMMAND"')


def site_at(place: Place, tmp_path: Path, **variables: str) -> Site:
    site = Site("shop/production", str(place.folder), release="r1", commit="abc")
    archive = make_archive(tmp_path / "r1.tar.gz", {"ordner-ü/日本.txt": "größe"})
    return replace(site, archive=archive, variables={"NAME": "日本", **variables})


def test_names_variables_and_output_are_utf_8(odd: Place, tmp_path: Path) -> None:
    host = odd.open().host
    site = site_at(odd, tmp_path)
    get_recipe("checkout_latest").function(host, site)
    host.put(b"sent", f"{site.release_path}/ordner-ü/日本.sent")

    told = host.run(site.in_release("python3", "-c", TELL)).stdout.splitlines()

    assert told[0] == "日本 … utf-8 utf-8"
    assert " UTF-8 [" in told[1]
    assert told[2] == "größe"
    assert (odd.folder / "releases/r1/ordner-ü/日本.txt").read_text() == "größe"
    assert (odd.folder / "releases/r1/ordner-ü/日本.sent").read_bytes() == b"sent"
    assert "export NAME='日本'\n" in Path(site.variables_path).read_text()


@pytest.mark.parametrize("variables", [ACCOUNTS["a language that is not there"], "LANG=C.UTF-8"])
def test_a_sites_own_locale_changes_its_language_and_not_the_encoding(
    start_sshd: StartSshd, ssh_settings: object, tmp_path: Path, variables: str
) -> None:
    place = place_at(odd_sshd(start_sshd, variables))
    host = place.open().host
    site = site_at(place, tmp_path, LANG="C", LC_MESSAGES="C")
    get_recipe("checkout_latest").function(host, site)

    told = host.run(site.in_release("python3", "-c", TELL)).stdout.splitlines()
    place.end()

    assert told[0] == "日本 … utf-8 utf-8"
    assert told[1] == "C UTF-8 ['日本.txt']"


def test_a_server_without_a_guard_speaks_utf_8(
    start_sshd: StartSshd, open_address: OpenAddress
) -> None:
    host = open_address(odd_sshd(start_sshd, OLD_C).address_for("web1")).host
    assert host.run(["python3", "-c", "print('日本 …')"]).stdout == "日本 …\n"


def test_this_machine_speaks_utf_8(
    here: Place, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.ISO-8859-1")
    host = here.open().host
    site = site_at(here, tmp_path)
    get_recipe("checkout_latest").function(host, site)
    assert host.run(site.in_release("python3", "-c", TELL)).stdout.startswith("日本 … utf-8")


def test_a_variable_that_is_no_utf_8_reaches_the_site_as_it_is(here: Place, tmp_path: Path) -> None:
    host = here.open().host
    site = site_at(here, tmp_path, RAW=os.fsdecode(b"\xe9t\xe9"))
    get_recipe("checkout_latest").function(host, site)
    tell = "import os; print(os.environb[b'RAW'])"
    assert host.run(site.in_release("python3", "-c", tell)).stdout == "b'\\xe9t\\xe9'\n"
