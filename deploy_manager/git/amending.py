"""Commits of our own, on top of a repository's: under refs that no fetch and no prune touches.

A mirror follows `refs/heads` and `refs/tags` of its repository and forgets what is gone from there,
so what is ours stands in `refs/deploy-manager`. It is made of objects alone: there is no work tree,
no index, and no other ref is touched.
"""

import re
from collections.abc import Callable
from pathlib import PurePosixPath

from deploy_manager.exceptions import CodeError

OWN_REFS = "refs/deploy-manager/"

_IDENTITY = ("-c", "user.name=deploy_manager", "-c", "user.email=deploy_manager@localhost")
_OWN_REF = re.compile(rf"{OWN_REFS}[a-z0-9][a-z0-9-]*")
_FILES = {"100644", "100755"}
_NOT_YET_THERE = ""
"""As the old value of a ref."""

_AS_IT_IS = "surrogateescape"
"""How the bytes of a name become text and the same bytes again."""

Change = Callable[[str], str]
"""From a file's text to its new one."""

RunGit = Callable[..., bytes]
"""git with words for one mirror, and `stdin`."""


def amend_file(run: RunGit, base: str, path: str, change: Change, message: str) -> str:
    """Write a commit on top of `base` in which one file is changed, and return its hash.

    What the change leaves alone keeps its bytes; a file that is not UTF-8 is taken for Latin-1, and
    may not get letters that this has not. Raises CodeError where `base` has no such file, or only a
    link.
    """
    tree = _changed_tree(run, f"{base}^{{tree}}", PurePosixPath(path).parts, change)
    words = ("commit-tree", "--no-gpg-sign", "-p", base, tree)
    return _word(run(*_IDENTITY, *words, stdin=message.encode()))


def keep_commit(run: RunGit, commit: str, ref: str) -> None:
    """Make a ref of ours mean a commit. Raises CodeError where there is such a ref already."""
    check_own_ref(ref)
    run("update-ref", ref, commit, _NOT_YET_THERE)


def check_own_ref(ref: str) -> None:
    """Raise CodeError for a ref that is not one of ours."""
    if not _OWN_REF.fullmatch(ref):
        raise CodeError(f"{ref!r} is no ref of deploy_manager.")


def patch_of(run: RunGit, commit: str) -> bytes:
    """Return a commit as a patch for `git am` and `git apply`, whatever anybody configured."""
    options = ("--no-signature", "--no-color", "--no-ext-diff", "--no-textconv", "--binary")
    prefixes = ("--src-prefix=a/", "--dst-prefix=b/")
    return run("format-patch", "-1", "--stdout", *options, *prefixes, commit)


def _changed_tree(run: RunGit, tree: str, parts: tuple[str, ...], change: Change) -> str:
    """Write a tree in which one file is changed, and the trees above it; return its hash."""
    entries = _entries(run, tree)
    name, below = parts[0], parts[1:]
    mode, kind, old = entries.get(name, ("", "", ""))
    if below and kind == "tree":
        entries[name] = mode, kind, _changed_tree(run, old, below, change)
    elif not below and mode in _FILES:
        entries[name] = mode, kind, _changed_file(run, old, change)
    else:
        raise CodeError(f"{name} can't be changed in the repository: it is missing, or a link.")
    lines = (f"{mode} {kind} {hash_}\t{name}\0" for name, (mode, kind, hash_) in entries.items())
    return _word(run("mktree", "-z", stdin="".join(lines).encode(errors=_AS_IT_IS)))


def _changed_file(run: RunGit, blob: str, change: Change) -> str:
    content = run("cat-file", "blob", blob)
    encoding = _encoding_of(content)
    changed = change(content.decode(encoding)).encode(encoding)
    return _word(run("hash-object", "-w", "--stdin", stdin=changed))


def _encoding_of(content: bytes) -> str:
    """UTF-8, or else one in which every byte is a letter, and the same byte again."""
    try:
        content.decode()
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"


def _entries(run: RunGit, tree: str) -> dict[str, tuple[str, str, str]]:
    """What a tree holds: names, each with mode, kind and hash."""
    listed = run("ls-tree", "-z", tree).decode(errors=_AS_IT_IS)
    entries = {}
    for line in filter(None, listed.split("\0")):
        facts, _tab, name = line.partition("\t")
        mode, kind, hash_ = facts.split()
        entries[name] = mode, kind, hash_
    return entries


def _word(printed: bytes) -> str:
    return printed.decode().strip()
