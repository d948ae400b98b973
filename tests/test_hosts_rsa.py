"""Keys of type ssh-rsa serve on: both sides prove them by SHA-2, as paramiko 5 and OpenSSH ask."""

from pathlib import Path

import pytest
from pytest_django import Settings

from deploy_manager.exceptions import HostUnreachable
from deploy_manager.hosts.link import fetch_host_key
from tests.parts.hosts import OpenAddress
from tests.parts.matrices import few
from tests.parts.sshd import StartSshd, make_key, running_sshd


@pytest.mark.parametrize("signature", few("rsa-sha2-256", "rsa-sha2-512"))
def test_rsa_keys_of_both_sides_are_proved_by_sha_2(
    open_address: OpenAddress, settings: Settings, tmp_path: Path, signature: str
) -> None:
    key = make_key(tmp_path / "client", "rsa")
    settings.DEPLOY_MANAGER = {**settings.DEPLOY_MANAGER, "SSH_KEY_FILE": key}
    takes = {"PubkeyAcceptedAlgorithms": "rsa-sha2-256,rsa-sha2-512"}
    with running_sshd(key, key_type="rsa", HostKeyAlgorithms=signature, **takes) as server:
        assert server.host_key.startswith("ssh-rsa ")
        opened = open_address(server.address_for("web1"))
        assert opened.host.run("echo in").stdout == "in\n"


def test_a_server_that_proves_its_key_by_sha_1_only_is_refused_in_words(
    start_sshd: StartSshd, open_address: OpenAddress
) -> None:
    server = start_sshd(key_type="rsa", HostKeyAlgorithms="ssh-rsa")
    with pytest.raises(HostUnreachable, match="by SHA-1 only"):
        open_address(server.address_for("web1"))
    with pytest.raises(HostUnreachable, match="by SHA-1 only"):
        fetch_host_key(server.address_for("web1", host_key=""))
