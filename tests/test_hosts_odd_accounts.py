"""Accounts at the other end of SSH are as they are: any login shell works, or is told at once.

ForceCommand stands for the login shell of an account: sshd runs both alike, by `<shell> -c`.
"""

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy_manager.exceptions import (
    CommandFailed,
    CommandTimedOut,
    ConnectionLost,
    HostUnreachable,
    NoCommands,
)
from deploy_manager.hosts import guarded
from deploy_manager.hosts.address import Stream
from deploy_manager.hosts.ssh import SshHost
from tests.parts.guards import Doing, Place, has_begun, place_at, waiting_for
from tests.parts.hosts import OpenAddress
from tests.parts.matrices import few
from tests.parts.served import wait_until
from tests.parts.sshd import Sshd, StartSshd, open_folder

ALWAYS = ("bash", "dash", "fish", "mksh", "tcsh")
SHELLS = (*ALWAYS, *(name for name in ("ksh93", "zsh") if shutil.which(name)))
ODD = """it's "a!b" !! !x `echo hi` $((1 + 2)) ^a^b \\ \\0101 ~ {a,b} %s # 日本 é"""
SCRIPT = f"""
cat <<'END'
{ODD}
END
for i in 1 2; do
    echo "$i"
done
cat; exit 7"""


def with_login_shell(start_sshd: StartSshd, name: str) -> Sshd:
    program = shutil.which(name)
    assert program, f"{name} is missing: apt-get install {name}"
    server = start_sshd(ForceCommand=f'exec {program} -c "$SSH_ORIGINAL_COMMAND"')
    for profile, text in PROFILES.items():
        (server.home / profile).parent.mkdir(parents=True, exist_ok=True)
        (server.home / profile).write_text(text)
    return server


PROFILES = {
    ".cshrc": 'echo "Welcome to tcsh"\n',
    ".zshenv": 'echo "Welcome to zsh"\n',
    ".config/fish/config.fish": 'echo "Welcome to fish"\n',
}
"""What an account greets with, also where nobody sits at a terminal."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the account of the tests may look into."""
    with open_folder() as path:
        yield path


@pytest.mark.parametrize("name", SHELLS)
def test_any_login_shell_takes_commands_as_they_are(
    start_sshd: StartSshd, open_address: OpenAddress, name: str
) -> None:
    opened = open_address(with_login_shell(start_sshd, name).address_for("web1"))

    result = opened.host.run(SCRIPT, stdin=b"from stdin", check=False)

    assert result.stdout.splitlines() == [ODD, "1", "2", "from stdin"]
    assert (result.exit_code, result.stderr) == (7, "")


@pytest.mark.parametrize("name", SHELLS)
def test_any_login_shell_lets_a_guard_work(
    start_sshd: StartSshd, ssh_settings: object, name: str
) -> None:
    place = place_at(with_login_shell(start_sshd, name))
    held = place.open()
    try:
        assert held.host.run(["printf", "%s", ODD]).stdout == ODD
        assert held.book.of(Stream.STDOUT).decode() == ODD
        assert place.open(token=2).host.run(["printf", "%s", ODD]).stdout == ODD
    finally:
        place.end()


def test_a_command_of_a_foreign_login_shell_is_stopped(
    start_sshd: StartSshd, open_address: OpenAddress
) -> None:
    opened = open_address(with_login_shell(start_sshd, "tcsh").address_for("web1"))
    with pytest.raises(CommandTimedOut, match="and was stopped"):
        opened.host.run("echo begun; sleep 60", timeout=1)


def test_files_arrive_where_a_profile_greets_the_file_transfer(
    start_sshd: StartSshd, open_address: OpenAddress, folder: Path
) -> None:
    program = folder / "sftp"
    program.write_text("#!/bin/sh\necho Welcome\nexec /usr/lib/openssh/sftp-server\n")
    program.chmod(0o755)
    server = start_sshd(Subsystem=f"sftp {program}")
    opened = open_address(server.address_for("web1"))
    began = time.monotonic()
    opened.host.put(b"content", f"{server.home}/file")
    assert (server.home / "file").read_bytes() == b"content"
    assert time.monotonic() - began < 10


REFUSALS = {
    "nologin": ("/usr/sbin/nologin", "This account is currently not available."),
    "false": ("/bin/false", "It says: nothing."),
    "sftp only": ("internal-sftp", "This service allows sftp connections only."),
    "sftp by a program": ("exec /usr/lib/openssh/sftp-server", "It says: nothing."),
    "a banner": ("echo Authorised use only; echo Bye >&2", "Authorised use only / Bye"),
    "git": ("echo 'fatal: no such command' >&2; exit 128", "fatal: no such command"),
    "another shell waits": ("exec /bin/sh", "It says: nothing."),
    "it echoes": ("cat", "It says: nothing."),
    "restricted": ('exec bash -r -c "$SSH_ORIGINAL_COMMAND"', "exec: restricted"),
    "killed": ("kill -KILL $$", "It says: nothing."),
    "an escape": ("printf 'no\\033[2J\\033]8;;x\\007way'; exit 1", "no[2J]8;;xway"),
}


@pytest.mark.parametrize(("command", "words"), few(*REFUSALS.values(), first=4), ids=REFUSALS)
def test_an_account_that_runs_nothing_is_reported_at_once_in_the_servers_words(
    start_sshd: StartSshd, ssh_settings: object, command: str, words: str
) -> None:
    server = start_sshd(ForceCommand=command)
    began = time.monotonic()
    with pytest.raises(NoCommands, match=re.escape(words)) as told:
        place_at(server).open()
    assert time.monotonic() - began < 10
    assert "web1 lets us in, but runs no command" in str(told.value)
    assert str(told.value).isprintable()
    assert len(re.findall("Accepted publickey", server.log)) == 1


def test_what_answers_without_having_run_a_command_is_no_success(
    start_sshd: StartSshd, open_address: OpenAddress
) -> None:
    opened = open_address(start_sshd(ForceCommand="echo Welcome").address_for("web1"))
    with pytest.raises(NoCommands, match="It says: Welcome"):
        opened.host.run("echo in", check=False)


def test_a_failure_has_the_words_of_what_answered_instead(
    start_sshd: StartSshd, open_address: OpenAddress
) -> None:
    opened = open_address(start_sshd(ForceCommand="/usr/sbin/nologin").address_for("web1"))
    with pytest.raises(CommandFailed, match="This account is currently not available"):
        opened.host.run("echo in")


def test_a_server_without_sessions_is_reported(
    start_sshd: StartSshd, open_address: OpenAddress
) -> None:
    opened = open_address(start_sshd(MaxSessions="0").address_for("web1"))
    with pytest.raises(NoCommands, match="runs no command"):
        opened.host.run("echo in")


def test_whom_a_server_refuses_is_reported_why_in_its_own_words(
    start_sshd: StartSshd, open_address: OpenAddress, folder: Path
) -> None:
    server = start_sshd(Banner=str(folder / "banner"))
    (folder / "banner").write_text("Closed until Monday.\n")
    with pytest.raises(HostUnreachable, match="The server says: Closed until Monday"):
        open_address(server.address_for("web1", user="nobody"))


def test_an_account_closed_while_a_command_runs_leaves_it_unknown(
    apart: Place, server: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded, "RECONNECTS_FOR", 1.0)
    held = apart.open()
    doing = Doing(held.host, waiting_for(apart, "go"))
    wait_until(lambda: has_begun(apart))

    def closed(host: object, line: str) -> None:
        raise NoCommands("web1 lets us in, but runs no command")

    monkeypatch.setattr(SshHost, "open_pipe", closed)
    server.cut_connections()
    doing.end()
    assert isinstance(doing.error, ConnectionLost)
    assert "is unknown. Check the server. (web1 lets us in" in str(doing.error)
