"""Connections are made to servers we recognise only, and what stops them is told."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest
from pytest_django import Settings

from deploy_manager.exceptions import HostKeyMismatch, HostUnreachable
from deploy_manager.hosts.address import Address
from deploy_manager.hosts.keys import fingerprint
from deploy_manager.hosts.link import fetch_host_key
from deploy_manager.hosts.opening import open_host
from tests.parts.hosts import Log, OpenAddress
from tests.parts.processes import running
from tests.parts.sshd import Sshd, StartSshd

OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
"""The key github.com publishes: well-formed, and never that of a test's own server."""


def _open(address: Address) -> None:
    open_host(address, Log(), Event()).close()


def test_a_login_is_seen_where_there_is_one(start_sshd: StartSshd, ssh_settings: Settings) -> None:
    server = start_sshd(LogLevel="DEBUG3")

    _open(server.address_for("web1"))

    assert server.saw_a_login()


def test_a_server_without_pinned_key_is_not_logged_in_to(
    start_sshd: StartSshd, ssh_settings: Settings
) -> None:
    server = start_sshd(LogLevel="DEBUG3")

    with pytest.raises(HostKeyMismatch, match="Fetch host key") as caught:
        _open(server.address_for("web1", host_key=""))

    assert fingerprint(server.host_key) in str(caught.value)
    assert not server.saw_a_login()


def test_a_server_with_another_key_is_not_logged_in_to(
    start_sshd: StartSshd, ssh_settings: Settings
) -> None:
    server = start_sshd(LogLevel="DEBUG3")

    with pytest.raises(HostKeyMismatch) as caught:
        _open(server.address_for("web1", host_key=OTHER_KEY))

    assert fingerprint(server.host_key) in str(caught.value)
    assert fingerprint(OTHER_KEY) in str(caught.value)
    assert not server.saw_a_login()


def test_a_server_that_lost_the_pinned_type_of_key_is_not_logged_in_to(
    start_sshd: StartSshd, ssh_settings: Settings
) -> None:
    server = start_sshd(key_type="ecdsa", LogLevel="DEBUG3")

    with pytest.raises(HostKeyMismatch) as caught:
        _open(server.address_for("web1", host_key=OTHER_KEY))

    assert fingerprint(server.host_key) in str(caught.value)
    assert not server.saw_a_login()


def test_a_pinned_key_that_is_none_is_reported(sshd: Sshd, ssh_settings: Settings) -> None:
    with pytest.raises(HostKeyMismatch, match="not a public key of type ssh-ed25519"):
        _open(sshd.address_for("web1", host_key="ssh-ed25519 AAAA"))


@pytest.mark.parametrize("key_type", ["ed25519", "ecdsa", "rsa"])
def test_every_common_type_of_host_key_can_be_pinned(
    start_sshd: StartSshd, open_address: OpenAddress, key_type: str
) -> None:
    server = start_sshd(key_type=key_type)

    opened = open_address(server.address_for("web1"))

    assert opened.host.run("echo in").stdout == "in\n"


def test_fetching_a_host_key_sends_nothing_to_log_in(start_sshd: StartSshd) -> None:
    server = start_sshd(LogLevel="DEBUG3")

    fetched = fetch_host_key(server.address_for("web1", host_key=""))

    assert fetched.line == server.host_key
    assert fetched.fingerprint == fingerprint(server.host_key)
    assert not server.saw_a_login()


def test_this_machine_has_no_host_key() -> None:
    with pytest.raises(HostUnreachable, match="own machine"):
        fetch_host_key(Address("here", local=True))


def test_an_account_that_refuses_the_key_is_reported(sshd: Sshd, ssh_settings: Settings) -> None:
    with pytest.raises(HostUnreachable, match=r"refuses to log nobody in.*authorized_keys"):
        _open(sshd.address_for("web1", user="nobody"))


def test_a_missing_key_file_is_reported_before_anything_is_sent(
    start_sshd: StartSshd, settings: Settings, tmp_path: Path
) -> None:
    server = start_sshd(LogLevel="DEBUG3")
    settings.DEPLOY_MANAGER = {"SSH_KEY_FILE": tmp_path / "missing"}

    with pytest.raises(
        HostUnreachable, match=r"SSH_KEY_FILE .*missing can't be read: No such file"
    ):
        _open(server.address_for("web1"))

    assert not server.saw_a_login()


def test_a_key_file_that_is_none_is_reported(
    sshd: Sshd, settings: Settings, tmp_path: Path
) -> None:
    key_file = tmp_path / "key"
    key_file.write_text("not a key")
    settings.DEPLOY_MANAGER = {"SSH_KEY_FILE": key_file}

    with pytest.raises(HostUnreachable, match="not a usable private key"):
        _open(sshd.address_for("web1"))


def test_a_key_with_a_passphrase_is_reported(
    sshd: Sshd, settings: Settings, tmp_path: Path
) -> None:
    key_file = tmp_path / "key"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", key_file], check=True
    )
    settings.DEPLOY_MANAGER = {"SSH_KEY_FILE": key_file}

    with pytest.raises(HostUnreachable, match="passphrase works only through an agent"):
        _open(sshd.address_for("web1"))


def test_no_key_and_no_agent_is_reported(sshd: Sshd, settings: Settings) -> None:
    settings.DEPLOY_MANAGER = {}

    with pytest.raises(HostUnreachable, match="set SSH_KEY_FILE"):
        _open(sshd.address_for("web1"))


def test_the_accounts_own_ssh_and_fabric_files_are_not_read(
    open_address: OpenAddress, sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    trap = tmp_path / "trap"
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text(
        f'Match exec "touch {trap}"\nHost *\n  Port 1\n  ProxyCommand touch {trap}\n'
    )
    (tmp_path / ".fabric.yaml").write_text("port: 1\nuser: nobody\n")

    opened = open_address(sshd.address_for("web1"))

    assert opened.host.run("echo in").stdout == "in\n"
    assert not trap.exists()


@pytest.fixture
def agent(ssh_key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An ssh-agent that holds the key of the tests."""
    path = tmp_path / "agent"
    monkeypatch.setenv("SSH_AUTH_SOCK", str(path))

    def takes_the_key() -> bool:
        return (
            subprocess.run(["ssh-add", "-q", ssh_key], check=False, capture_output=True).returncode
            == 0
        )

    with running(["ssh-agent", "-D", "-a", str(path)], takes_the_key, tmp_path / "agent.log"):
        yield


@pytest.mark.usefixtures("agent")
def test_an_agent_opens_servers_where_the_settings_ask_for_it(
    sshd: Sshd, settings: Settings
) -> None:
    settings.DEPLOY_MANAGER = {"SSH_AGENT": True}

    _open(sshd.address_for("web1"))


@pytest.mark.usefixtures("agent")
def test_an_agent_is_not_asked_otherwise(sshd: Sshd, settings: Settings, tmp_path: Path) -> None:
    other_key = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other_key], check=True)
    settings.DEPLOY_MANAGER = {"SSH_KEY_FILE": other_key}

    with pytest.raises(HostUnreachable, match="refuses to log"):
        _open(sshd.address_for("web1"))
