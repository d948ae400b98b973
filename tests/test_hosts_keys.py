"""Host keys are read strictly and shown as OpenSSH shows them."""

import subprocess
from pathlib import Path

import pytest

from deploy_manager.hosts.address import Address
from deploy_manager.hosts.keys import fingerprint


@pytest.mark.parametrize("key_type", ["ed25519", "ecdsa", "rsa"])
def test_a_fingerprint_is_the_one_that_ssh_keygen_prints(tmp_path: Path, key_type: str) -> None:
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", key_type, "-N", "", "-f", path], check=True)
    printed = subprocess.run(
        ["ssh-keygen", "-lf", path], capture_output=True, text=True, check=True
    ).stdout.split()[1]

    assert fingerprint(path.with_suffix(".pub").read_text()) == printed


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "looks like"),
        ("ssh-ed25519", "looks like"),
        ("ssh-dss AAAA", "not a known type of host key"),
        ("-oProxyCommand=x AAAA", "not a known type of host key"),
        ("ssh-ed25519 AAAA", "not a public key"),
        ("ssh-ed25519 not!base64", "not a public key"),
        (
            "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl",
            "not a public",
        ),
        ("ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTY=", "not a public key"),
    ],
)
def test_what_is_no_key_is_refused_in_words(line: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fingerprint(line)


def test_a_key_is_filed_under_host_and_port() -> None:
    assert Address("a", hostname="web1.example.org").known_as == "web1.example.org"
    assert Address("a", hostname="::1", port=2222).known_as == "[::1]:2222"
