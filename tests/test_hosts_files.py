"""Files appear on a host complete or not at all."""

import hashlib
import stat
from pathlib import Path
from threading import Event

import pytest

from deploy_manager.exceptions import Cancelled, RecipeError
from tests.parts.hosts import OpenAddress, Opened
from tests.parts.sshd import Sshd, StartSshd


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_bytes_arrive_with_their_mode(opened: Opened) -> None:
    target = opened.folder / "it's a $(file)"

    opened.host.put(b"\0\xff\n", str(target), 0o600)

    assert target.read_bytes() == b"\0\xff\n"
    assert _mode(target) == 0o600


def test_a_file_of_this_machine_arrives_whole(opened: Opened, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(range(256)) * 20_000)

    opened.host.put(source, str(opened.folder / "target"), 0o755)

    target = opened.folder / "target"
    assert (
        hashlib.sha256(target.read_bytes()).digest() == hashlib.sha256(source.read_bytes()).digest()
    )
    assert _mode(target) == 0o755


def test_a_file_replaces_another_at_once(opened: Opened) -> None:
    target = opened.folder / "target"
    opened.host.put(b"old", str(target))
    with target.open("rb") as reader:
        opened.host.put(b"new", str(target))

        assert reader.read() == b"old"
    assert target.read_bytes() == b"new"
    assert list(opened.folder.iterdir()) == [target]


def test_an_empty_file_is_a_file(opened: Opened) -> None:
    opened.host.put(b"", str(opened.folder / "empty"), 0o444)

    assert (opened.folder / "empty").read_bytes() == b""
    assert _mode(opened.folder / "empty") == 0o444


def test_a_relative_target_lies_in_the_folder_of_cd(opened: Opened) -> None:
    with opened.host.cd(str(opened.folder)):
        opened.host.put(b"x", "-here")

    assert (opened.folder / "-here").read_bytes() == b"x"


@pytest.mark.parametrize("target", ["missing/file", "."])
def test_a_file_that_cannot_be_written_leaves_nothing_behind(opened: Opened, target: str) -> None:
    with pytest.raises(RecipeError, match=f"could not be written on {opened.host.name}"):
        opened.host.put(b"x", str(opened.folder / target))

    assert list(opened.folder.iterdir()) == []
    assert list(opened.folder.parent.glob("*.part")) == []


def test_a_source_that_is_missing_is_reported(opened: Opened, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="No such file"):
        opened.host.put(tmp_path / "missing", str(opened.folder / "target"))

    assert list(opened.folder.iterdir()) == []


@pytest.fixture
def over_ssh_without_sftp(start_sshd: StartSshd, open_address: OpenAddress) -> tuple[Opened, Path]:
    server = start_sshd(Subsystem=None)
    return open_address(server.address_for("web1")), server.home


def test_a_cancel_in_the_middle_leaves_the_old_file(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    _put_and_cancel_in_the_middle(opened, opened.folder / "target", monkeypatch)


def test_without_sftp_a_cancel_in_the_middle_leaves_the_old_file(
    over_ssh_without_sftp: tuple[Opened, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, home = over_ssh_without_sftp

    _put_and_cancel_in_the_middle(opened, home / "target", monkeypatch)


def _put_and_cancel_in_the_middle(
    opened: Opened, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened.host.put(b"old", str(target))
    _cancel_at_look(opened.cancelled, 4, monkeypatch)

    with pytest.raises(Cancelled):
        opened.host.put(b"x" * 5_000_000, str(target))

    assert target.read_bytes() == b"old"
    assert list(target.parent.iterdir()) == [target]


def _cancel_at_look(cancelled: Event, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter(range(number))
    monkeypatch.setattr(cancelled, "is_set", lambda: next(looks, None) is None)


def test_files_arrive_where_the_server_has_no_sftp(
    over_ssh_without_sftp: tuple[Opened, Path],
) -> None:
    opened, home = over_ssh_without_sftp
    data = bytes(range(256)) * 3000

    opened.host.put(data, str(home / "a file"), 0o640)
    opened.host.put(b"", str(home / "empty"))

    assert (home / "a file").read_bytes() == data
    assert _mode(home / "a file") == 0o640
    assert (home / "empty").read_bytes() == b""
    assert opened.log.pieces == []


def test_without_sftp_a_file_that_cannot_be_written_is_reported(
    start_sshd: StartSshd, open_address: OpenAddress
) -> None:
    server = start_sshd(Subsystem="sftp /no/such/program")
    opened = open_address(server.address_for("web1"))

    with pytest.raises(RecipeError, match=r"on web1: .*(No such|nonexistent)"):
        opened.host.put(b"x", str(server.home / "missing" / "file"))


def test_a_folder_is_not_replaced_by_a_file(over_ssh: Opened, sshd: Sshd) -> None:
    folder = over_ssh.folder / "folder"
    over_ssh.host.run(["mkdir", str(folder)])

    with pytest.raises(RecipeError, match="could not be written"):
        over_ssh.host.put(b"x", str(folder))

    assert folder.is_dir()
