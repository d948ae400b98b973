"""Root by a password: sudo reads it from stdin, and the command gets the rest."""

import stat
from pathlib import Path

import pytest
from pytest_django import Settings

from deploy_manager.exceptions import RecipeError
from deploy_manager.logins import PasswordLogin
from deploy_manager.recipes import Site
from deploy_manager.recipes.becoming_root import AsRoot, as_root
from deploy_manager.sealing import Secret, seal
from tests.parts.hosts import Opened
from tests.parts.leaks import Leaks
from tests.parts.secret_keys import as_web_server

pytestmark = pytest.mark.usefixtures("secrets_key")

PASSWORD = "needle-Zm9v$(id)'x"

SUDO = """\
#!/bin/sh
# Stands in for sudo, which no machine of the tests has to have: reads a line where it is to ask.
case "$1" in -n) exit 1;; esac
[ "$1 $2 $4" = "-S -p --" ] || exit 9
shift 4
if [ "$ASKS" = yes ]; then
    IFS= read -r given
    [ "$given" = "$(cat {wanted})" ] || {{ echo "sudo: 1 incorrect password attempt" >&2; exit 1; }}
fi
exec "$@"
"""


@pytest.fixture
def site() -> Site:
    login = PasswordLogin("root-there", "deploy", seal(Secret(PASSWORD)))
    return Site(environment="shop/production", deploy_path="/srv/shop", sudo=login)


@pytest.mark.parametrize("asks", ["yes", "no"])
def test_the_command_gets_its_own_input_whether_or_not_sudo_asks(
    on_this_machine: Opened, site: Site, tmp_path: Path, asks: str
) -> None:
    (tmp_path / "wanted").write_text(PASSWORD)
    program = tmp_path / "sudo"
    program.write_text(SUDO.format(wanted=tmp_path / "wanted"))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    root = as_root(on_this_machine.host, site, is_root=False)
    words = ["env", f"PATH={tmp_path}:/usr/bin:/bin", f"ASKS={asks}", *root.words, "cat"]
    leaks = Leaks.of(PASSWORD)
    with leaks.watched():
        said = on_this_machine.host.run(words, stdin=root.stdin + b'{"facts": 1}\n')
    assert said.stdout == '{"facts": 1}\n'
    assert not leaks.found


def test_root_and_accounts_without_a_password_are_as_before(
    on_this_machine: Opened, site: Site
) -> None:
    assert as_root(on_this_machine.host, site, is_root=True) == AsRoot()
    without = Site(environment="shop/production", deploy_path="/srv/shop")
    assert as_root(on_this_machine.host, without, is_root=False) == AsRoot(("sudo", "-n"))


def test_who_can_not_open_the_password_is_told_which(
    on_this_machine: Opened, site: Site, settings: Settings, secrets_key: Path
) -> None:
    as_web_server(settings, secrets_key)
    with pytest.raises(RecipeError, match="root-there can't be opened here"):
        as_root(on_this_machine.host, site, is_root=False)


def test_the_line_is_what_sudo_takes(on_this_machine: Opened, site: Site) -> None:
    words = as_root(on_this_machine.host, site, is_root=False).words
    assert words[:5] == ("sudo", "-S", "-p", "", "--")
    assert PASSWORD not in " ".join(words)
