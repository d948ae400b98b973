"""Commands do the same on this machine and over SSH."""

import hashlib
import time
from pathlib import Path

import pytest

from deploy_manager.exceptions import Cancelled, CommandFailed, RecipeError
from deploy_manager.hosts.address import Stream
from tests.parts.hosts import Opened

ODD_NAMES = ["with space", "$(touch pwned)", "it's", 'a"b', "-n", "ü;&|", "*", "a\\b"]


def test_what_a_command_prints_comes_back_and_goes_to_the_log(opened: Opened) -> None:
    result = opened.host.run("echo out; echo err >&2")

    assert result.ok
    assert (result.stdout, result.stderr) == ("out\n", "err\n")
    assert opened.log.of(Stream.STDOUT) == b"out\n"
    assert opened.log.of(Stream.STDERR) == b"err\n"
    assert opened.log.pieces[0] == (Stream.OUR_OWN, b"$ echo out; echo err >&2\n")


@pytest.mark.parametrize("code", [1, 2, 127, 255])
def test_an_exit_code_comes_back_as_it_is(opened: Opened, code: int) -> None:
    assert opened.host.run(f"exit {code}", check=False).exit_code == code


def test_a_command_that_a_signal_killed_has_128_and_the_number(opened: Opened) -> None:
    assert opened.host.run("sh -c 'kill -9 $$'", check=False).exit_code == 137


def test_a_failed_command_shows_its_code_and_its_last_words(opened: Opened) -> None:
    with pytest.raises(CommandFailed) as caught:
        opened.host.run("echo reading; echo 'no such table' >&2; exit 3")

    assert caught.value.exit_code == 3
    assert str(caught.value).endswith("` ended with exit code 3:\nno such table")


def test_a_quiet_command_leaves_nothing_in_the_log_nor_in_its_error(opened: Opened) -> None:
    with pytest.raises(CommandFailed) as caught:
        opened.host.run("echo hunter2; echo hunter2 >&2; exit 1", quiet=True)

    assert opened.log.pieces == []
    assert "hunter2" not in str(caught.value)


def test_words_of_a_list_stay_words(opened: Opened) -> None:
    words = ["$(id)", "a b", "`id`", "", "'", "-", "*", "\n", "\\"]

    result = opened.host.run(["printf", "%s|", *words])

    assert result.stdout == "".join(f"{word}|" for word in words)


def test_sh_reads_a_text(opened: Opened) -> None:
    result = opened.host.run("for i in 1 2; do echo $i; done # and no more")

    assert result.stdout == "1\n2\n"


def test_a_command_that_is_no_text_is_refused(opened: Opened) -> None:
    for bad in ("echo a\0b", "echo \udcff"):
        with pytest.raises(RecipeError, match="NUL byte"):
            opened.host.run(bad)


def test_a_command_that_is_too_long_to_start_fails_in_words(opened: Opened) -> None:
    with pytest.raises(RecipeError, match="Argument list too long"):
        opened.host.run(["true", "x" * 200_000])


def test_bytes_come_exact_on_both_streams_at_once(opened: Opened) -> None:
    line = b"0123456789abcde\n"
    count = 5_000_000 // len(line)
    opened.host.run(
        f"(yes 0123456789abcde | head -n {count} >&2) & yes 0123456789abcde | head -n {count}; wait"
    )

    for stream in (Stream.STDOUT, Stream.STDERR):
        assert (
            hashlib.sha256(opened.log.of(stream)).digest() == hashlib.sha256(line * count).digest()
        )


def test_bytes_that_are_no_text_come_exact(opened: Opened) -> None:
    result = opened.host.run(r"printf '\000\377\r\n\303'")

    assert opened.log.of(Stream.STDOUT) == b"\0\xff\r\n\xc3"
    assert result.stdout == "\0\ufffd\r\n\ufffd"


def test_a_result_keeps_the_end_of_long_output(opened: Opened) -> None:
    result = opened.host.run("head -c 3000000 /dev/zero; echo end")

    assert len(result.stdout) == 1024 * 1024
    assert result.stdout.endswith("end\n")


def test_a_command_reads_what_it_is_given(opened: Opened) -> None:
    data = bytes(range(256)) * 20_000

    result = opened.host.run("sha256sum", stdin=data)

    assert result.stdout.split()[0] == hashlib.sha256(data).hexdigest()


def test_input_and_output_may_both_be_large(opened: Opened) -> None:
    data = b"x" * 5_000_000

    opened.host.run("cat", stdin=data)

    assert opened.log.of(Stream.STDOUT) == data


def test_a_command_need_not_read_its_input(opened: Opened) -> None:
    assert opened.host.run("exec <&-; echo done", stdin=b"x" * 5_000_000).stdout == "done\n"


def test_a_command_without_input_reads_nothing(opened: Opened) -> None:
    assert opened.host.run("cat", timeout=5).stdout == ""


@pytest.mark.parametrize("name", ODD_NAMES)
def test_cd_takes_folders_of_any_name(opened: Opened, name: str) -> None:
    with opened.host.cd(str(opened.folder)):
        opened.host.run(["mkdir", "--", name])
        with opened.host.cd(name):
            inside = opened.host.run("pwd").stdout.strip()
        outside = opened.host.run("pwd").stdout.strip()

    assert Path(inside) == opened.folder / name
    assert Path(outside) == opened.folder
    assert [path.name for path in opened.folder.iterdir()] == [name]


def test_a_folder_that_is_not_there_fails_the_command(opened: Opened) -> None:
    with opened.host.cd("/no/such/folder"), pytest.raises(CommandFailed, match="/no/such/folder"):
        opened.host.run("echo never")

    assert opened.log.of(Stream.STDOUT) == b""


def test_commands_begin_where_the_account_is_at_home(opened: Opened) -> None:
    home = opened.host.run('getent passwd "$(id -un)" | cut -d: -f6').stdout

    assert opened.host.run("pwd").stdout == home


def test_a_long_command_is_shortened_in_the_log(opened: Opened) -> None:
    opened.host.run(["true", "x" * 5000])
    opened.host.run("true\ntrue\ntrue")

    assert max(map(len, opened.log.our_own.splitlines())) < 400
    assert "$ true … (2 more lines)" in opened.log.our_own


def test_what_we_say_is_a_line_of_our_own(opened: Opened) -> None:
    opened.host.say("Release 12 is whole.")

    assert opened.log.pieces == [(Stream.OUR_OWN, b"Release 12 is whole.\n")]


def test_a_daemon_that_keeps_the_output_open_does_not_hold_us_up(opened: Opened) -> None:
    began = time.monotonic()

    result = opened.host.run("sleep 20 & echo $!")

    assert time.monotonic() - began < 5
    opened.host.run(["kill", result.stdout.strip()])


def test_nothing_is_started_after_a_cancel(opened: Opened) -> None:
    opened.cancelled.set()

    with pytest.raises(Cancelled):
        opened.host.run(["touch", str(opened.folder / "never")])

    assert list(opened.folder.iterdir()) == []
    assert opened.log.pieces == []
