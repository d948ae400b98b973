"""Keep the static files of all releases side by side. Runs on the server, Python 3.8 or later.

Reads JSON: deploy_path, and do:
add: make what a release (its name) has collected at root available, without replacing anything;
     has_index is whether the site looks names up in an index at root.
show: let a release's files replace those of the same name.
remove: remove what no release has any more.

`<deploy path>/static` has hard links to the files. Links in `.deploy/static` lead to what each
release has collected; the mark there says that the folder is ours, and which files we put there.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

INDEX = "staticfiles.json"
"""Of ManifestStaticFilesStorage: only the release itself reads it."""


class Folder:
    """The common folder of a site, and what is known of it."""

    def __init__(self, top: str) -> None:
        top = os.path.realpath(top)
        self.path = os.path.join(top, "static")
        self.releases = os.path.join(top, "releases")
        self.known = os.path.join(top, ".deploy", "static")
        self.mark = os.path.join(self.known, ".made")

    @property
    def is_ours(self) -> bool:
        return os.path.exists(self.mark) and not os.path.islink(self.path)

    def claim(self) -> bool:
        """Make the folder ours, if nobody else has put anything there."""
        if self.is_ours:
            return True
        is_folder = os.path.isdir(self.path) and not os.path.islink(self.path)
        if os.path.lexists(self.path) and (not is_folder or os.listdir(self.path)):
            return False
        os.makedirs(self.path, exist_ok=True)
        os.makedirs(self.known, mode=0o700, exist_ok=True)
        open(self.mark, "w").close()
        return True

    def put_here(self) -> set[str]:
        """Return the names of what we have put there: other files are somebody else's."""
        with open(self.mark, errors="surrogateescape") as file:
            return set(filter(None, file.read().split("\0")))

    def note(self, names: set[str]) -> None:
        """Write down what we have put there."""
        beside = f"{self.mark}.part"
        with open(beside, "w", errors="surrogateescape") as file:
            file.write("\0".join(sorted(names)))
        os.replace(beside, self.mark)

    def forget(self) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self.mark)

    def know(self, release: str, root: str) -> None:
        """Remember what a release has collected."""
        link = os.path.join(self.known, release)
        beside = f"{link}.part"  # a name that no release has
        with suppress(FileNotFoundError):
            os.unlink(beside)
        os.symlink(os.path.relpath(root, os.path.realpath(self.known)), beside)
        os.replace(beside, link)

    def collected(self, release: str) -> str:
        """Return what a release has collected; blank if that is not known."""
        link = os.path.join(self.known, release)
        return os.path.realpath(link) if os.path.isdir(link) else ""


def add(folder: Folder, facts: dict[str, Any]) -> None:
    release = os.path.realpath(os.path.join(folder.releases, facts["release"]))
    root = os.path.realpath(facts["root"]) if facts["root"] else ""
    if not is_inside(root, release):
        tell_why_not(folder, root, facts["has_index"])
        return
    if not folder.claim():
        print(f"{folder.path} has files of somebody else: it is left as it is, and not served.")
        return
    folder.know(facts["release"], root)
    names = list(files_in(root))
    # Written down first: what is put there and not known would stay forever.
    new = [name for name in names if not os.path.lexists(os.path.join(folder.path, name))]
    folder.note(folder.put_here().union(new))
    number = sum(put(root, name, folder.path, replace=False) for name in names)
    print(f"{folder.path} has them, too; new there: {number}")


def tell_why_not(folder: Folder, root: str, has_index: bool) -> None:
    if is_inside(f"{root}/", folder.path):
        folder.forget()  # the site itself collects there by now
    if root and has_index:
        print(
            f"STATIC_ROOT is {root}, which all releases write to, with an index of hashed names:"
            " after a rollback the older release reads the newer index. Keep it in the code, not"
            f" shared, and let the web server serve {folder.path}."
        )


def show(folder: Folder, facts: dict[str, Any]) -> None:
    root = folder.collected(facts["release"])
    if root and folder.is_ours:
        names = list(files_in(root))
        folder.note(folder.put_here().union(names))
        for name in names:
            put(root, name, folder.path, replace=True)


def remove(folder: Folder, facts: dict[str, Any]) -> None:
    if not folder.is_ours:
        return
    kept = set()
    for release in os.listdir(folder.known):
        if os.path.isdir(os.path.join(folder.releases, release)):
            kept.update(files_in(folder.collected(release)))
        elif os.path.join(folder.known, release) != folder.mark:
            os.unlink(os.path.join(folder.known, release))
    ours = folder.put_here()
    gone = ours - kept
    for name in gone:
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(folder.path, name))
    folder.note(ours - gone)
    for path, _folders, _names in os.walk(folder.path, topdown=False):
        with suppress(OSError):  # not empty
            path == folder.path or os.rmdir(path)
    if gone:
        print(f"static files that no release has any more were removed: {len(gone)}")


def put(root: str, name: str, target: str, replace: bool) -> bool:
    """Link a file into a folder; return whether it was put there."""
    source, path = os.path.join(root, name), os.path.join(target, name)
    if os.path.islink(source):
        source = os.path.realpath(source)
    if os.path.lexists(path) and (not replace or os.path.samefile(source, path)):
        return False
    beside = f"{path}.dm-part"
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with suppress(FileNotFoundError):
            os.unlink(beside)
        try:
            os.link(source, beside)
        except OSError:  # another file system, or one that has no hard links
            shutil.copyfile(source, beside)
            os.chmod(beside, 0o644)
        os.replace(beside, path)
    except (NotADirectoryError, IsADirectoryError, FileExistsError):
        print(f"{path} is left as it is: one release has a folder there, and another one a file")
        with suppress(OSError):
            os.unlink(beside)
        return False
    return True


def files_in(folder: str) -> Iterator[str]:
    """Yield the paths of the files in a folder, relative to it; links that lead out are none."""
    for path, _folders, names in os.walk(folder):
        prefix = path[len(folder) + 1 :]
        for name in names:
            relative = os.path.join(prefix, name)
            if relative != INDEX and is_own(os.path.join(path, name), folder):
                yield relative


def is_own(path: str, folder: str) -> bool:
    mode = os.lstat(path).st_mode
    # Only of a link: to resolve a path asks for each folder on the way, for each of many files.
    if stat.S_ISLNK(mode):
        return os.path.isfile(path) and is_inside(os.path.realpath(path), folder)
    return stat.S_ISREG(mode)


def is_inside(path: str, folder: str) -> bool:
    return path.startswith(folder + os.sep)


def main() -> None:
    facts = json.load(sys.stdin)
    folder = Folder(facts["deploy_path"])
    try:
        {"add": add, "show": show, "remove": remove}[facts["do"]](folder, facts)
    except OSError as error:
        sys.exit(f"The static files could not be put into {folder.path}: {error}.")


main()
