"""A repository that may not be read: whose key or password is missing, and where to put it."""

import getpass
import shlex
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from deploy_manager.exceptions import CodeError
from deploy_manager.git.mirror import Mirror
from tests.parts.sshd import Sshd

NOBODY_ASKED = ["-F", "/dev/null", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"]


def refusal(url: str, folder: Path) -> str:
    with pytest.raises(CodeError) as caught:
        Mirror(url, folder, timeout=30).update()
    return str(caught.value)


@pytest.mark.parametrize(
    ("known_host", "said", "help_text"),
    [
        (True, "Permission denied (publickey", "give this account a deploy key in ~/.ssh"),
        (False, "Host key verification failed", "connect once by ssh and compare the key"),
    ],
)
def test_an_account_without_a_key_is_named_with_what_to_give_it(
    sshd: Sshd,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    known_host: bool,
    said: str,
    help_text: str,
) -> None:
    known = tmp_path / "known_hosts"
    known.write_text(f"[{sshd.address}]:{sshd.port} {sshd.host_key}\n" if known_host else "")
    options = [*NOBODY_ASKED, "-o", f"UserKnownHostsFile={known}", "-i", "/dev/null"]
    monkeypatch.setenv("GIT_SSH_COMMAND", shlex.join(["ssh", *options]))
    told = refusal(f"ssh://{sshd.user}@{sshd.address}:{sshd.port}/shop.git", tmp_path / "cache")
    assert said in told
    assert help_text in told
    assert f"{getpass.getuser()} on " in told


class _WantsPassword(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="git"')
        self.end_headers()

    def log_message(self, *words: object) -> None:
        """Say nothing."""


def test_a_repository_that_asks_for_a_password_names_the_account_that_lacks_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), _WantsPassword) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        told = refusal(f"http://127.0.0.1:{server.server_port}/shop.git", tmp_path / "cache")
        server.shutdown()
    assert "could not read Username" in told
    assert "give this account a token in ~/.netrc" in told
