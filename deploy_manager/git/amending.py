"""Our own commits on top of a repository's, under refs that no fetch or prune touches.

A mirror follows `refs/heads` and `refs/tags` of its repository and drops refs that are gone there,
so our own are in `refs/deploy-manager`. Commits are built from objects alone: there is no work tree
and no index, and no other ref is touched.
"""

import re
from collections.abc import Callable
from pathlib import PurePosixPath

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import CodeError

OWN_REFS = "refs/deploy-manager/"

# git refuses to commit for an account without a name and an address, as a worker's often is.
_IDENTITY = ("-c", "user.name=deploy_manager", "-c", "user.email=deploy_manager@localhost")
_OWN_REF = re.compile(rf"{OWN_REFS}[a-z0-9][a-z0-9-]*")
_FILES = {"100644", "100755"}
_NOT_YET_THERE = ""
"""The old value of a ref that must not exist yet."""

_AS_IT_IS = "surrogateescape"
"""Error handler that turns the bytes of a name into text and back."""

Change = Callable[[str], str]
"""Takes a file's text, returns the new one."""

RunGit = Callable[..., bytes]
"""Runs git in one mirror; takes words and `stdin`."""


def amend_file(run: RunGit, base: str, path: str, change: Change, message: str) -> str:
    """Write a commit on top of `base` in which one file is changed, and return its hash.

    Unchanged parts keep their bytes; a file that is not UTF-8 is read as Latin-1, and its new text
    must be encodable in it. Raises CodeError if `base` has no such file, or only a link.
    """
    tree = _changed_tree(run, f"{base}^{{tree}}", PurePosixPath(path).parts, change)
    # The account's git may sign all commits, and would ask for its key.
    words = ("commit-tree", "--no-gpg-sign", "-p", base, tree)
    return _word(run(*_IDENTITY, *words, stdin=message.encode()))


def keep_commit(run: RunGit, commit: str, ref: str) -> None:
    """Create a ref of our own for a commit. Raises CodeError if the ref exists already."""
    check_own_ref(ref)
    run("update-ref", ref, commit, _NOT_YET_THERE)


def check_own_ref(ref: str) -> None:
    """Raise CodeError for a ref that is not our own."""
    if not _OWN_REF.fullmatch(ref):
        raise CodeError(_("%(ref)s is not a ref of deploy_manager."), ref=repr(ref))


def patch_of(run: RunGit, commit: str) -> bytes:
    """Return a commit as a patch for `git am` and `git apply`, whatever git's configuration."""
    # --no-ext-diff and --no-textconv: attributes of a commit could name programs to run.
    options = ("--no-signature", "--no-color", "--no-ext-diff", "--no-textconv", "--binary")
    prefixes = ("--src-prefix=a/", "--dst-prefix=b/")
    return run("format-patch", "-1", "--stdout", *options, *prefixes, commit)


def _changed_tree(run: RunGit, tree: str, parts: tuple[str, ...], change: Change) -> str:
    """Write a tree in which one file is changed, and its parent trees; return its hash."""
    entries = _entries(run, tree)
    name, below = parts[0], parts[1:]
    mode, kind, old = entries.get(name, ("", "", ""))
    if below and kind == "tree":
        entries[name] = mode, kind, _changed_tree(run, old, below, change)
    elif not below and mode in _FILES:
        entries[name] = mode, kind, _changed_file(run, old, change)
    else:
        raise CodeError(
            _("%(name)s can't be changed in the repository: it is missing, or a link."), name=name
        )
    lines = (f"{mode} {kind} {hash_}\t{name}\0" for name, (mode, kind, hash_) in entries.items())
    return _word(run("mktree", "-z", stdin="".join(lines).encode(errors=_AS_IT_IS)))


def _changed_file(run: RunGit, blob: str, change: Change) -> str:
    content = run("cat-file", "blob", blob)
    try:
        content.decode()
        encoding = "utf-8"
    except UnicodeDecodeError:
        encoding = "latin-1"  # maps every byte to a character and back
    changed = change(content.decode(encoding)).encode(encoding)
    return _word(run("hash-object", "-w", "--stdin", stdin=changed))


def _entries(run: RunGit, tree: str) -> dict[str, tuple[str, str, str]]:
    """Return mode, kind and hash of each entry of a tree, by name."""
    listed = run("ls-tree", "-z", tree).decode(errors=_AS_IT_IS)
    entries = {}
    for line in filter(None, listed.split("\0")):
        facts, _tab, name = line.partition("\t")
        mode, kind, hash_ = facts.split()
        entries[name] = mode, kind, hash_
    return entries


def _word(printed: bytes) -> str:
    return printed.decode().strip()
