"""Links that are slow, busy, dead or lead through another server."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from deploy_manager.exceptions import (
    Cancelled,
    ConnectionLost,
    HostKeyMismatch,
    HostUnreachable,
)
from deploy_manager.hosts import link
from deploy_manager.hosts.address import Address, Stream
from deploy_manager.hosts.link import fetch_host_key
from deploy_manager.hosts.opening import open_host
from deploy_manager.hosts.ssh import SshHost
from tests.parts.hosts import Log, OpenAddress, Opened
from tests.parts.sshd import Sshd, StartSshd
from tests.parts.wire import Relay


def _address(port: int, server: Sshd) -> Address:
    return server.address_for("web1", hostname="127.0.0.1", port=port)


def _relay_to(server: Sshd, hang_ups: int = 0) -> Relay:
    return Relay((server.address, server.port), hang_ups)


@pytest.fixture
def relay(sshd: Sshd) -> Iterator[Relay]:
    between = _relay_to(sshd)
    yield between
    between.close()


@pytest.fixture
def short_tempered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every wait of a connection short."""
    monkeypatch.setattr(link, "GREETING_TIMEOUT", 0.5)
    monkeypatch.setattr(link, "FIRST_DELAY", 0.02)
    monkeypatch.setattr(link, "KEEPALIVE_INTERVAL", 0.1)
    monkeypatch.setattr(link, "DEAD_AFTER", 0.5)


@pytest.mark.usefixtures("short_tempered", "ssh_settings")
def test_a_port_that_never_greets_is_given_up(deaf_port: int, sshd: Sshd) -> None:
    began = time.monotonic()

    with pytest.raises(HostUnreachable, match=r"sent no SSH greeting within 0\.5 s"):
        open_host(_address(deaf_port, sshd), Log(), Event())

    assert time.monotonic() - began < 3


@pytest.mark.usefixtures("ssh_settings")
def test_a_cancel_ends_the_wait_for_a_greeting(deaf_port: int, sshd: Sshd) -> None:
    cancelled = Event()
    threading.Timer(0.2, cancelled.set).start()
    began = time.monotonic()

    with pytest.raises(Cancelled):
        open_host(_address(deaf_port, sshd), Log(), cancelled)

    assert time.monotonic() - began < 1


@pytest.mark.usefixtures("short_tempered", "ssh_settings")
def test_a_port_where_nothing_listens_is_reported(sshd: Sshd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]

    with pytest.raises(HostUnreachable, match="refuses connections"):
        open_host(_address(port, sshd), Log(), Event())


@pytest.mark.usefixtures("ssh_settings")
def test_a_name_that_cannot_be_one_is_reported(sshd: Sshd) -> None:
    with pytest.raises(HostUnreachable, match="can't be reached"):
        open_host(sshd.address_for("web1", hostname="a..b"), Log(), Event())


@pytest.mark.usefixtures("ssh_settings")
def test_a_name_that_does_not_exist_is_reported(sshd: Sshd) -> None:
    with pytest.raises(
        HostUnreachable, match=r"web1 \(no-such-host\.invalid:\d+\) can't be reached"
    ):
        open_host(sshd.address_for("web1", hostname="no-such-host.invalid"), Log(), Event())


@pytest.mark.usefixtures("short_tempered")
def test_a_server_that_hangs_up_at_first_is_asked_again(
    open_address: OpenAddress, sshd: Sshd
) -> None:
    relay = _relay_to(sshd, hang_ups=3)

    opened = open_address(_address(relay.port, sshd))

    assert opened.host.run("echo in").stdout == "in\n"
    assert relay.connections == 4
    relay.close()


@pytest.mark.usefixtures("short_tempered", "ssh_settings")
def test_a_server_that_hangs_up_for_good_is_reported(sshd: Sshd) -> None:
    relay = _relay_to(sshd, hang_ups=99)

    hung_up = r"hung up before its SSH greeting: .*PerSourcePenalties.*wait some minutes\."
    with pytest.raises(HostUnreachable, match=hung_up):
        open_host(_address(relay.port, sshd), Log(), Event())

    relay.close()


def test_many_connections_at_once_get_through_a_server_that_turns_some_away(
    open_address: OpenAddress, start_sshd: StartSshd
) -> None:
    server = start_sshd(MaxStartups="2:60:10")
    address = server.address_for("web1")

    with ThreadPoolExecutor(12) as pool:
        everyone = list(pool.map(open_address, [address] * 12))

    assert [each.host.run("echo in").stdout for each in everyone] == ["in\n"] * 12


@pytest.mark.usefixtures("short_tempered")
def test_a_link_that_swallows_everything_is_noticed(
    open_address: OpenAddress, relay: Relay, sshd: Sshd
) -> None:
    opened = open_address(_address(relay.port, sshd))
    threading.Thread(target=_when_printed, args=(opened, relay.swallow)).start()
    began = time.monotonic()

    with pytest.raises(ConnectionLost):
        opened.host.run("echo begun; sleep 3")

    assert time.monotonic() - began < 2.5
    with pytest.raises(HostUnreachable, match="was not started"):
        opened.host.run("true")


@pytest.mark.usefixtures("short_tempered")
def test_a_long_silence_on_a_good_link_is_no_loss(open_address: OpenAddress, sshd: Sshd) -> None:
    opened = open_address(sshd.address_for("web1"))

    assert opened.host.run("sleep 1.5; echo done").stdout == "done\n"


@pytest.mark.usefixtures("short_tempered")
def test_a_stop_over_a_dead_link_does_not_claim_to_have_stopped_anything(
    open_address: OpenAddress, relay: Relay, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "DEAD_AFTER", 2.0)
    opened = open_address(_address(relay.port, sshd))
    then = (relay.swallow, opened.cancelled.set)
    threading.Thread(target=_when_printed, args=(opened, *then)).start()

    with pytest.raises(ConnectionLost, match="may still be running"):
        opened.host.run("echo begun; sleep 3")


def _when_printed(opened: Opened, *actions: Callable[[], None]) -> None:
    while not opened.log.of(Stream.STDOUT):
        time.sleep(0.01)
    for action in actions:
        action()


def test_small_packets_are_sent_at_once_and_silence_ends_the_socket(over_ssh: Opened) -> None:
    assert isinstance(over_ssh.host, SshHost)
    sock = over_ssh.host._link.transport.sock
    assert isinstance(sock, socket.socket)

    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 15_000


def test_a_server_behind_a_gateway_is_reached_through_it(
    open_address: OpenAddress, sshd: Sshd, start_sshd: StartSshd
) -> None:
    gateway = start_sshd()
    address = sshd.address_for("web1", gateway=gateway.address_for("gate"))

    opened = open_address(address)

    assert opened.host.run('echo "$SSH_CONNECTION"').stdout.split()[3] == str(sshd.port)
    assert fetch_host_key(address).line == sshd.host_key
    assert gateway.log.count("Accepted publickey") == 2


@pytest.mark.usefixtures("ssh_settings")
def test_a_gateway_is_recognised_too(sshd: Sshd, start_sshd: StartSshd) -> None:
    gateway = start_sshd(LogLevel="DEBUG3")
    unknown = gateway.address_for("gate", host_key=sshd.host_key)

    with pytest.raises(HostKeyMismatch, match="gate"):
        open_host(sshd.address_for("web1", gateway=unknown), Log(), Event())

    assert not gateway.saw_a_login()


@pytest.mark.usefixtures("ssh_settings")
def test_the_key_of_a_server_behind_a_gateway_is_checked(sshd: Sshd, start_sshd: StartSshd) -> None:
    gateway = start_sshd()
    address = sshd.address_for(
        "web1", host_key=gateway.host_key, gateway=gateway.address_for("gate")
    )

    with pytest.raises(HostKeyMismatch, match="web1"):
        open_host(address, Log(), Event())


@pytest.mark.usefixtures("short_tempered", "ssh_settings")
def test_a_server_that_its_gateway_cannot_reach_is_reported(
    sshd: Sshd, start_sshd: StartSshd
) -> None:
    gateway = start_sshd()
    address = sshd.address_for("web1", port=1, gateway=gateway.address_for("gate"))

    with pytest.raises(HostUnreachable, match=r"gateway gate can't reach web1 \(.*:1\)"):
        open_host(address, Log(), Event())


def test_a_login_shell_that_only_speaks_is_heard(
    open_address: OpenAddress, start_sshd: StartSshd
) -> None:
    server = start_sshd(ForceCommand="echo This account is closed.; exit 1")
    opened = open_address(server.address_for("web1"))

    result = opened.host.run("echo never", check=False)

    assert (result.exit_code, result.stdout) == (1, "This account is closed.\n")


def test_what_a_profile_prints_is_not_taken_for_output(
    open_address: OpenAddress, start_sshd: StartSshd
) -> None:
    server = start_sshd(ForceCommand='echo Welcome; eval "$SSH_ORIGINAL_COMMAND"')
    opened = open_address(server.address_for("web1"))

    assert opened.host.run("echo out").stdout == "out\n"


def test_hanging_up_on_a_server_that_is_gone_is_no_error(
    open_address: OpenAddress, sshd: Sshd, start_sshd: StartSshd
) -> None:
    gateway = start_sshd()
    opened = open_address(sshd.address_for("web1", gateway=gateway.address_for("gate")))
    gateway.cut_connections()
    opened.host.close()
    opened.host.close()
