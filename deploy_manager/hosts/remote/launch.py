"""Start the guard of a deploy path, if the file there is the guard that the worker expects.

Run as `python -c <this text> <guard> <sha256> <folder>`, before anything of ours runs on a server.
If the guard has to be sent, it ends with the Python's version and MISSING on stderr; if another
account could replace what this account runs, with the reason. Only the standard library of Python
3.8 is used.
"""

from __future__ import annotations

import marshal
import os
import stat
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from hashlib import sha256
    from types import CodeType
else:
    # Those in C: all of hashlib takes as long to import as the rest of this.
    try:
        from _sha2 import sha256
    except ImportError:
        try:
            from _sha256 import sha256
        except ImportError:
            from hashlib import sha256

MISSING = "no-guard-of-ours"
OTHERS = stat.S_IWGRP | stat.S_IWOTH
SERVED = ("releases", "venvs", "current")
"""What a site runs, beside the folder of our own files."""

MOST_LINKS = 40
"""The kernel follows no more on the way to a path: see path_resolution(7)."""


DIGEST_BYTES = 32
CODE = ".code"
"""At the end of the name of a file that has the guard's compiled code."""

MODULE = "\n#: "
"""Before the name of each module in the guard's file."""


def main(guard: str, digest: str, folder: str) -> None:
    """Check the way to the guard and the guard, and load its modules."""
    os.umask(0o077)
    asked, folder = folder, os.path.realpath(folder)
    if not os.path.isdir(folder):
        missing()
    was_private = keep_to_ourselves(folder)
    top = os.path.dirname(folder)
    keep_others_out(top)
    check_way(asked)
    for name in SERVED:
        check_way(os.path.join(top, name), is_given_to_us=True)
    content = content_of(guard)
    if sha256(content).hexdigest() != digest:
        missing()
    sys.argv[:] = [guard, "attach", folder]
    load(modules_of(guard, digest, content, was_private))


def missing() -> None:
    """End with the Python's version and MISSING: the worker sends nothing to one too old."""
    version = ".".join(map(str, sys.version_info[:3]))
    sys.exit(f"{version}\n{MISSING}")


def keep_to_ourselves(folder: str) -> bool:
    """Make the folder accessible to this account only; return whether it was."""
    facts = os.stat(folder)
    if facts.st_uid != os.geteuid():
        sys.exit(
            f"{folder} belongs to the account {name_of(facts.st_uid)}:"
            f" run chown {name_of(os.geteuid())} {folder}"
        )
    if stat.S_IMODE(facts.st_mode) == 0o700:
        return True
    os.chmod(folder, 0o700)
    # Whoever could write here may have put some there: at the next start it would pass for ours.
    for name in os.listdir(folder):
        if name.endswith(CODE):
            os.unlink(os.path.join(folder, name))
    return False


def keep_others_out(folder: str) -> None:
    """Remove others' permission to rename what is in a folder, if the folder is our own."""
    facts = os.stat(folder)
    if facts.st_uid == os.geteuid() and facts.st_mode & OTHERS:
        os.chmod(folder, stat.S_IMODE(facts.st_mode) & ~OTHERS)


def check_way(path: str, is_given_to_us: bool = False) -> None:
    """End if another account may replace a folder or a link on the way to a path.

    The owner of a folder may rename what is in it, whatever its mode and its sticky bit are. Ends
    also if the way leads in a circle, through a file, or where this account may not look.
    """
    try:
        for here, facts in way(path):
            check_step(here, facts, is_end=here == path, is_given_to_us=is_given_to_us)
    except FileNotFoundError:
        return
    except NotADirectoryError as error:
        file = os.path.dirname(error.filename)
        sys.exit(f"{path} leads through {file}, which is not a folder: run mv {file} {file}.old")
    except OSError as error:
        sys.exit(f"This account can't follow {path}: {error.filename}: {error.strerror}")


def way(path: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield each folder and link on the way to a path. Raises OSError where it can't go on."""
    here, names, links = "/", path.split("/")[::-1], 0
    while True:
        facts = os.lstat(here)
        yield here, facts
        if stat.S_ISLNK(facts.st_mode):
            links += 1
            if links > MOST_LINKS:
                sys.exit(
                    f"{path} leads through more than {MOST_LINKS} links, as a circle does:"
                    f" run rm {here}"
                )
            # An absolute link has an empty first name, the last here: it starts at the root again.
            names += os.readlink(here).split("/")[::-1]
            here = os.path.dirname(here) if names[-1] else "/"
        if not names:
            return
        # ".." may go as text, since no link is left in `here`.
        here = os.path.normpath(os.path.join(here, names.pop()))


def check_step(here: str, facts: os.stat_result, *, is_end: bool, is_given_to_us: bool) -> None:
    """End if another account may replace this folder or link, or what is in it."""
    is_link = stat.S_ISLNK(facts.st_mode)
    if facts.st_uid not in (0, os.geteuid()):
        sys.exit(
            f"{here} belongs to the account {name_of(facts.st_uid)}, which can so replace what"
            f" this account runs: run chown {'-h ' if is_link else ''}"
            f"{name_of(os.geteuid()) if is_end and is_given_to_us else 'root'} {here}"
        )
    # Modes of a folder of our own in the deploy path are repaired by the guard.
    is_repaired = is_end and facts.st_uid == os.geteuid()
    if not is_link and may_be_replaced(facts) and not is_repaired:
        sys.exit(
            f"Others may write in {here}, and so replace what this account runs:"
            f" run chmod go-w {here}"
        )


def may_be_replaced(facts: os.stat_result) -> bool:
    """Whether others may rename entries of a folder that are not theirs; in /tmp they may not."""
    if facts.st_mode & stat.S_ISVTX:
        return False
    by_group = facts.st_mode & stat.S_IWGRP and not is_own_group(facts.st_gid)
    return bool(by_group or facts.st_mode & stat.S_IWOTH)


def name_of(account: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(account).pw_name
    except KeyError:
        return str(account)


def is_own_group(number: int) -> bool:
    """Whether a group contains only this account: many systems create one per account."""
    if number == 0:
        return True
    import grp
    import pwd

    try:
        account, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(number)
    except KeyError:
        return False
    alone = set(group.gr_mem) <= {account.pw_name}
    return number == account.pw_gid and group.gr_name == account.pw_name and alone


def content_of(path: str) -> bytes:
    """Return what a file holds; nothing if others may have written to it, or it is not there."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return b""
    with open(file, "rb") as opened:
        facts = os.fstat(file)
        is_own = facts.st_uid == os.geteuid() and stat.S_ISREG(facts.st_mode)
        return opened.read() if is_own and not facts.st_mode & OTHERS else b""


def modules_of(
    guard: str, digest: str, content: bytes, was_private: bool
) -> list[tuple[str, CodeType]]:
    """Return the names and the code of the guard's modules, which are compiled once."""
    path = f"{guard}.{sys.implementation.cache_tag}{CODE}"
    made_of = f"{digest} {sys.version}\n".encode()
    # In a folder that was open to others, a file of this account may be one that they chose.
    kept = content_of(path) if was_private else b""
    code = kept[DIGEST_BYTES:]
    if code and sha256(made_of + code).digest() == kept[:DIGEST_BYTES]:
        found: list[tuple[str, CodeType]] = marshal.loads(code)
        return found
    parts = [part.partition("\n") for part in content.decode().split(MODULE)[1:]]
    found = [(name, compile(text, f"{guard}/{name}", "exec")) for name, _, text in parts]
    code = marshal.dumps(found)
    keep(path, sha256(made_of + code).digest() + code)
    return found


def keep(path: str, content: bytes) -> None:
    """Write a private file, whole or not at all; without it the next start is slower."""
    beside = f"{path}.{os.getpid()}.part"
    try:
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
        os.replace(beside, path)
    except OSError:
        if os.path.lexists(beside):
            os.unlink(beside)


def load(modules: list[tuple[str, CodeType]]) -> None:
    """Make modules of code that is in the order of their imports; the first is their package."""
    new_spec = type(sys.__spec__)
    package = modules[0][0]
    for name, code in modules:
        module = type(sys)(name)
        module.__spec__ = new_spec(name, None, is_package=name == package)
        if name == package:
            module.__path__ = []
        module.__package__ = package
        sys.modules[name] = module
        exec(code, module.__dict__)  # noqa: S102  compared with its hash
        setattr(sys.modules[package], name.rpartition(".")[2], module)


def end(code: int) -> None:
    """End at once: there is nothing to clean up, and tidying memory takes as long as the start."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main(*sys.argv[1:])
    # Only now: main() has compared what is imported here with its hash.
    from guard.relay import main as attach  # type: ignore[import-not-found]

    end(attach())
