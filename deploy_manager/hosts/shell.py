"""Text for sh: scripts, quoting, and how commands appear in messages. Runs nothing."""

import posixpath
import re
import shlex

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import RecipeError
from deploy_manager.recipes.host import Command

SHOWN_CHARACTERS = 300

STOP_SCRIPT = r"""
group=$1
is_running() {
    kill -0 "-$group" 2>/dev/null || kill -0 "$group" 2>/dev/null || return 1
    [ -r /proc/self/stat ] || return 0
    for file in /proc/[0-9]*/stat; do
        stat=
        while IFS= read -r line; do stat="$stat $line"; done <"$file"
        set -- ${stat##*) }
        [ "$3" = "$group" ] && [ "$1" != Z ] && return 0
    done 2>/dev/null
    return 1
}
for signal in TERM KILL; do
    kill -s "$signal" -- "-$group" 2>/dev/null || kill -s "$signal" "$group" 2>/dev/null
    tries=0
    while [ "$tries" -lt 30 ]; do
        is_running || exit 0
        sleep 0.1 2>/dev/null || sleep 1
        tries=$((tries + 1))
    done
done
exit 1
"""
"""Ends the process group $1: TERM, 3 seconds later KILL. Exit code 0 once none of it runs.

A zombie counts as ended: its parent may never reap it. In /proc/<pid>/stat the program's name may
have blanks, brackets and new lines of its own, so that fields count from the last ") " of all its
lines: see proc(5). Where no group could be made, $1 is signalled alone. POSIX knows whole seconds
of sleep only.
"""

# kill(2) takes -$$ only for a group that sh leads; else setsid makes it lead one, if there is one.
LEAD = 'kill -0 "-$$" 2>/dev/null || s=$(command -v setsid); exec $s /bin/sh -c "$1"'

UTF8 = {"PYTHONUTF8": "1"}
"""Makes Python use UTF-8 whatever the account's locale is; a guard does this itself."""


def line_of(command: Command) -> str:
    """Return a command as one text for sh; a list's words are quoted. Raises RecipeError."""
    line = command if isinstance(command, str) else shlex.join(command)
    try:
        line.encode()
        is_text = "\0" not in line
    except UnicodeEncodeError:  # a lone surrogate, as of a file name that is not UTF-8
        is_text = False
    if not is_text:
        raise RecipeError(_("A command can't contain a NUL byte or invalid Unicode: remove it."))
    return line


def script_of(line: str, folder: str) -> str:
    """Return a script that runs `line` in `folder` (blank: the account's home).

    Files it creates can be read by all and changed by the account alone, whatever the account's
    umask is: web servers serve some of them. Private files are given their own mode.

    It ends with `exit`, so that sh does not exec the last command and can report the exit code of
    one that a signal killed: SSH itself has no exit code for those.
    """
    enter = f"cd {shlex.quote(folder)} || exit\n" if folder else ""
    return f"umask 022\n{enter}{line}\n\nexit $?"


def remote_command(script: str, marker: str) -> str:
    """Return a command line that runs a script over SSH in a process group of its own.

    The first line it prints is `<marker> <process group>`. OpenSSH already makes each command a
    session leader; on other servers setsid does, if it is installed.
    """
    # PYTHONIOENCODING is unset, since it takes precedence over UTF-8 mode (PEP 540).
    exports = shlex.join(["export", *(f"{name}={value}" for name, value in UTF8.items())])
    words = shlex.join(["set", "--", f'echo "{marker} $$"\n{script}'])
    return login_line(f"unset PYTHONIOENCODING; {exports}\n{words}\n{LEAD}")


def login_line(text: str) -> str:
    """Return a command line with which any login shell has sh run `text`.

    sshd passes a command line to the login shell, and other families (csh, fish) treat quotes,
    backslashes, ! and newlines differently. They get one line of printable ASCII in single quotes,
    with backslashes only before a zero, which printf turns back (POSIX, printf: %b).
    """
    escaped = re.sub(rb"[^ -~]|[\\'!]", lambda found: b"\\0%03o" % found[0][0], text.encode())
    return f"""exec /bin/sh -c 'eval "$(printf %b "$1")"' sh '{escaped.decode()}'"""


def stop_command(group: int) -> list[str]:
    """Return the argument list that ends a process group and waits until it is gone."""
    return ["/bin/sh", "-c", STOP_SCRIPT, "sh", str(group)]


def join(folder: str, path: str) -> str:
    """Return `path` relative to `folder`, never in a form that is taken for an option or `-`."""
    joined = posixpath.join(folder, path)
    return joined if joined.startswith(("/", "./")) else f"./{joined}"


def shown(line: str) -> str:
    """Return a command as one line of limited length, for messages."""
    first, *others = line.strip().splitlines() or [""]
    text = f"{first} … ({len(others)} more lines)" if others else first
    if len(text) <= SHOWN_CHARACTERS:
        return text
    half = SHOWN_CHARACTERS // 2
    return f"{text[:half]} … {text[-half:]}"
