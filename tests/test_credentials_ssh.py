"""Logging in to servers by credentials: keys, passphrases, certificates; and host keys."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from pytest_django import Settings

from deploy_manager.addresses import address_of
from deploy_manager.exceptions import HostKeyMismatch, HostUnreachable
from deploy_manager.hosts.link import connect, fetch_host_key
from deploy_manager.hosts.opening import open_host
from deploy_manager.hosts.running import no_sink
from deploy_manager.models import Credential, Server
from deploy_manager.private_keys import make_private_key
from deploy_manager.sealing import Secret
from tests.inventory import Inventory
from tests.parts.secret_keys import as_web_server
from tests.parts.sshd import Sshd, StartSshd, make_key, running_sshd
from tests.parts.wire import Relay

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("secrets_key")]

PASSPHRASE = "correct horse"


def row_of(sshd: Sshd, **changes: object) -> Server:
    fields = {
        "name": "web1",
        "address": sshd.address,
        "port": sshd.port,
        "user": sshd.user,
        "host_key": sshd.host_key,
    }
    return Server.objects.create(**{**fields, **changes})


def log_in(server: Server) -> None:
    connect(address_of(server), Event()).close()


def add(name: str, secret: str, passphrase: str = "", **fields: Any) -> Credential:
    row = Credential(name=name, **{"kind": "login", **fields})
    row.put(Secret(secret), Secret(passphrase) if passphrase else None)
    row.save()
    return row


def locked(key: Path, folder: Path, passphrase: str) -> str:
    copy = folder / "locked"
    copy.touch(0o600)
    copy.write_bytes(key.read_bytes())
    words = ["ssh-keygen", "-q", "-p", "-P", "", "-N", passphrase, "-f", str(copy)]
    subprocess.run(words, check=True, capture_output=True)
    return copy.read_text()


def test_a_generated_key_opens_the_server_that_lets_it_in(start_sshd: StartSshd) -> None:
    sshd = start_sshd()
    key = make_private_key()
    # As the admin shows the line.
    line = f"restrict {key.public_line} deploy_manager/generated\n"
    sshd.log_file.with_name("authorized_keys").write_text(line)
    server = row_of(sshd)
    add("generated", key.plain.value)
    with closing(open_host(address_of(server), no_sink, Event())) as host:
        target = f"{sshd.new_folder()}/sent"
        host.put(b"there", target)
        assert host.run(["cat", target]).stdout == "there"


def test_a_key_with_a_passphrase_needs_the_right_one(
    sshd: Sshd, ssh_key: Path, tmp_path: Path
) -> None:
    server = row_of(sshd)
    text = locked(ssh_key, tmp_path, PASSPHRASE)
    row = add("locked", text, PASSPHRASE)
    log_in(server)
    row.put(Secret(text))
    row.save()
    with pytest.raises(HostUnreachable, match=r"locked can't be used: .*needs a passphrase"):
        log_in(server)
    row.put(Secret(text), Secret("battery staple"))
    row.save()
    with pytest.raises(HostUnreachable, match="passphrase is not that of the private key") as told:
        log_in(server)
    assert "battery" not in str(told.value)


def test_a_key_in_a_file_of_the_worker_is_read_when_it_is_used(
    sshd: Sshd, ssh_key: Path, tmp_path: Path
) -> None:
    server = row_of(sshd)
    file = tmp_path / "key"
    Credential.objects.create(name="file", kind="login", source="file", reference=str(file))
    with pytest.raises(HostUnreachable, match=r"file can't be opened here.*No such file"):
        log_in(server)
    file.write_bytes(ssh_key.read_bytes())
    file.chmod(0o644)
    with pytest.raises(HostUnreachable, match="chmod 600"):
        log_in(server)
    file.chmod(0o600)
    log_in(server)


def test_a_key_comes_from_a_command_that_the_settings_name(
    sshd: Sshd, ssh_key: Path, settings: Settings
) -> None:
    server = row_of(sshd)
    settings.DEPLOY_MANAGER = {**settings.DEPLOY_MANAGER, "SECRET_COMMANDS": {"cat": ["cat", "{}"]}}
    row = Credential.objects.create(
        name="vault", kind="login", source="command", command="cat", reference=str(ssh_key)
    )
    log_in(server)
    Credential.objects.filter(pk=row.pk).update(reference="/nowhere/key")
    with pytest.raises(HostUnreachable, match=r"exit code 1\. .*No such file"):
        log_in(server)
    settings.DEPLOY_MANAGER = {**settings.DEPLOY_MANAGER, "SECRET_COMMANDS": {}}
    with pytest.raises(HostUnreachable, match="has no command 'cat'"):
        log_in(server)


def test_a_user_certificate_is_presented(start_sshd: StartSshd, tmp_path: Path) -> None:
    authority = make_key(tmp_path / "authority")
    sshd = start_sshd(
        AuthorizedKeysFile="none", TrustedUserCAKeys=str(authority.with_suffix(".pub"))
    )
    key = make_key(tmp_path / "user")
    sign(authority, key, "-I", "worker", "-n", sshd.user)
    server = row_of(sshd)
    row = add("certified", key.read_text())
    with pytest.raises(HostUnreachable, match="public key of certified"):
        log_in(server)
    row.certificate = (tmp_path / "user-cert.pub").read_text()
    row.save()
    log_in(server)


def sign(authority: Path, key: Path, *options: str) -> None:
    words = ["ssh-keygen", "-q", "-s", str(authority), *options, str(key.with_suffix(".pub"))]
    subprocess.run(words, check=True, capture_output=True)


def test_the_most_particular_credential_counts(sshd: Sshd, inventory: Inventory) -> None:
    placement = inventory.add_server("web9")
    server, site = placement.server, inventory.environment
    Server.objects.filter(pk=server.pk).update(connection="ssh", address="10.0.0.1", user="deploy")
    server.refresh_from_db()

    def counts() -> str:
        login = address_of(server, environment=site).login
        return login.name if login else ""

    assert counts() == ""
    places: list[tuple[str, dict[str, Any]]] = [
        ("all", {}),
        ("project", {"project": site.project}),
        ("environment", {"environment": site}),
        ("server", {"server": server}),
        ("both", {"server": server, "environment": site}),
    ]
    for name, place in places:
        add(name, "sealed text", **place)
        assert counts() == name
    assert address_of(server).login.name == "server"  # type: ignore[union-attr]
    assert address_of(server, as_bootstrap=True, environment=site).login.name == "both"  # type: ignore[union-attr]
    add("first", "sealed text", kind="bootstrap")
    assert address_of(server, as_bootstrap=True, environment=site).login.name == "first"  # type: ignore[union-attr]


def test_a_web_server_fetches_a_host_key_and_logs_in_nowhere(
    sshd: Sshd, ssh_key: Path, settings: Settings, secrets_key: Path
) -> None:
    server = row_of(sshd)
    add("all", ssh_key.read_text())
    as_web_server(settings, secrets_key)
    assert fetch_host_key(address_of(server)).line == sshd.host_key
    behind = Server.objects.create(
        name="db1", address=sshd.address, port=sshd.port, user=sshd.user, gateway=server
    )
    with pytest.raises(HostUnreachable, match="credential all can't be opened here"):
        fetch_host_key(address_of(behind))


# Host keys


@contextmanager
def relayed(to: Sshd) -> Iterator[int]:
    """A port that passes everything on to a server, as one in the middle could: yields it."""
    with closing(Relay((to.address, to.port))) as relay:
        yield relay.port


@pytest.fixture(scope="module")
def impostor(ssh_key: Path) -> Iterator[Sshd]:
    """A server that has an ecdsa key of its own, and lets everybody in who has the key."""
    with running_sshd(ssh_key, key_type="ecdsa", LogLevel="DEBUG3") as server:
        yield server


@pytest.mark.parametrize(
    ("pinned", "told"),
    [
        pytest.param("", "No host key is pinned .*SHA256:", id="unknown"),
        pytest.param("changed", "is not the pinned one.*Pinned: SHA256:.*presents: SHA256:"),
        pytest.param("downgraded", "is not the pinned one.*presents: SHA256:"),
        pytest.param("authority", "not certified by its pinned authority"),
        pytest.param("damaged", "is not usable"),
    ],
)
def test_another_host_key_is_refused_before_anything_is_sent(
    impostor: Sshd, ssh_key: Path, tmp_path: Path, pinned: str, told: str
) -> None:
    """Also through a relay that has not the server's key, which is what one in the middle lacks."""
    lines = {
        "changed": " ".join(
            make_key(tmp_path / "other", "ecdsa").with_suffix(".pub").read_text().split()[:2]
        ),
        "downgraded": make_private_key().public_line,  # ed25519, of which it offers none
        "authority": f"@cert-authority {make_private_key().public_line}",
        "damaged": "ssh-ed25519 AAAA",
    }
    add("all", ssh_key.read_text())
    with relayed(impostor) as port:
        server = row_of(impostor, port=port, host_key=lines.get(pinned, ""))
        with pytest.raises(HostKeyMismatch, match=told):
            log_in(server)
    assert not impostor.saw_a_login()


@pytest.mark.parametrize("attempt", range(20))
@pytest.mark.long
def test_one_in_the_middle_never_sees_a_login(impostor: Sshd, ssh_key: Path, attempt: int) -> None:
    add("all", ssh_key.read_text())
    with relayed(impostor) as port:
        server = row_of(impostor, port=port, host_key=make_private_key().public_line)
        with pytest.raises(HostKeyMismatch):
            log_in(server)
    assert not impostor.saw_a_login()


def certified(start_sshd: StartSshd, folder: Path, *options: str) -> tuple[Sshd, str]:
    """Return a server whose host key an authority has signed, and the line to pin."""
    authority = make_key(folder / "authority")
    host = make_key(folder / "host")
    sign(authority, host, "-h", "-I", "web1", *options)
    sshd = start_sshd(HostKey=str(host), HostCertificate=str(folder / "host-cert.pub"))
    public = " ".join(authority.with_suffix(".pub").read_text().split()[:2])
    return sshd, f"@cert-authority {public}"


def test_a_certificate_of_the_host_stands_for_its_key(
    start_sshd: StartSshd, ssh_key: Path, tmp_path: Path
) -> None:
    sshd, pinned = certified(start_sshd, tmp_path, "-n", "web1.example.org,127.0.0.1")
    add("all", ssh_key.read_text())
    log_in(row_of(sshd, host_key=pinned))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("-n", "web2"), "it is for web2, not for 127.0.0.1, web1"),
        ((), "it is for -, not for"),
        (("-n", "web1", "-V", "20200101:20200102"), "not valid now"),
    ],
    ids=["another", "anybody", "expired"],
)
def test_a_certificate_that_is_not_for_the_host_is_refused(
    start_sshd: StartSshd, ssh_key: Path, tmp_path: Path, options: tuple[str, ...], told: str
) -> None:
    sshd, pinned = certified(start_sshd, tmp_path, *options)
    add("all", ssh_key.read_text())
    with pytest.raises(HostKeyMismatch, match=told):
        log_in(row_of(sshd, host_key=pinned))


def test_a_certificate_by_another_authority_is_refused(
    start_sshd: StartSshd, ssh_key: Path, tmp_path: Path
) -> None:
    sshd, _pinned = certified(start_sshd, tmp_path, "-n", "web1")
    add("all", ssh_key.read_text())
    other = f"@cert-authority {make_private_key().public_line}"
    with pytest.raises(HostKeyMismatch, match=r"it is signed by SHA256:.*, not by SHA256:"):
        log_in(row_of(sshd, host_key=other))


# Algorithms


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("Ciphers", "3des-cbc"),
        ("Ciphers", "aes256-cbc"),
        ("MACs", "hmac-md5"),
        ("MACs", "hmac-sha1-96"),
    ],
)
def test_old_algorithms_are_refused_until_they_are_switched_on(
    start_sshd: StartSshd, ssh_key: Path, option: str, value: str
) -> None:
    others = {"Ciphers": "aes128-ctr"} if option == "MACs" else {}
    sshd = start_sshd(**{**others, option: value})
    add("all", ssh_key.read_text())
    server = row_of(sshd)
    with pytest.raises(HostUnreachable, match="switch on “legacy algorithms” for this server"):
        log_in(server)
    server.legacy_algorithms = True
    server.save()
    log_in(server)


def test_only_modern_algorithms_are_offered(start_sshd: StartSshd, ssh_key: Path) -> None:
    sshd = start_sshd(LogLevel="DEBUG3")
    add("all", ssh_key.read_text())
    log_in(row_of(sshd))
    offered = re.search(r"peer client KEXINIT proposal.*?compression ctos", sshd.log, re.DOTALL)
    assert offered
    assert not re.search(r"cbc|md5|sha1(?!\d)|sha1-96", offered[0])
