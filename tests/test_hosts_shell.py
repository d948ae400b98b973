"""What is sent to sh, and what people are shown of it."""

import os
import subprocess

import pytest

from deploy_manager.hosts import shell


def _run_by_sh(command: str) -> "subprocess.Popen[str]":
    """Start a command like a server that gives it no process group of its own."""
    return subprocess.Popen(["/bin/sh", "-c", command], stdout=subprocess.PIPE, text=True)


def test_a_remote_command_leads_a_group_where_the_server_gives_it_none() -> None:
    with _run_by_sh(shell.remote_command("echo out; read never", "here-is")) as process:
        assert process.stdout is not None
        marker, group = process.stdout.readline().split()

        assert marker == "here-is"
        assert int(group) == process.pid == os.getpgid(process.pid)
        assert subprocess.run(shell.stop_command(int(group)), check=False).returncode == 0


def test_a_remote_command_keeps_its_exit_code_and_its_words() -> None:
    script = shell.script_of("""printf '%s' "it's $((1 + 1))"; exit 4""", "")

    with _run_by_sh(shell.remote_command(script, "here-is")) as process:
        printed, _ = process.communicate()

    assert printed.splitlines()[1:] == ["it's 2"]
    assert process.returncode == 4


def test_stopping_what_is_gone_already_is_no_failure() -> None:
    with subprocess.Popen(["true"], start_new_session=True) as process:
        process.wait()

    assert subprocess.run(shell.stop_command(process.pid), check=False).returncode == 0


@pytest.mark.parametrize(
    ("folder", "path", "joined"),
    [
        ("", "/srv/shop", "/srv/shop"),
        ("/srv", "shop", "/srv/shop"),
        ("/srv", "/opt", "/opt"),
        ("", "-", "./-"),
        ("", "shop", "./shop"),
        ("./shop", "static", "./shop/static"),
    ],
)
def test_a_path_is_seen_from_its_folder_and_is_never_an_option(
    folder: str, path: str, joined: str
) -> None:
    assert shell.join(folder, path) == joined


def test_a_command_is_shown_on_one_line() -> None:
    assert shell.shown("  ls -l\n") == "ls -l"
    assert shell.shown("a\nb\nc") == "a … (2 more lines)"
    assert shell.shown("") == ""
    assert len(shell.shown("x" * 10_000)) < 310


@pytest.mark.parametrize("line", ["true #", "true &", "true \\", "cat <<end\nx\nend", ""])
def test_no_ending_of_a_command_swallows_what_follows(line: str) -> None:
    script = shell.script_of(line, "/")

    assert (
        subprocess.run(["/bin/sh", "-c", script], capture_output=True, check=False).returncode == 0
    )
