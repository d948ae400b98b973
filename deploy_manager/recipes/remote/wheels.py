"""List the wheels in the store, or link them into an environment. Runs on the server, Python 3.8+.

Reads JSON: store (a folder with a file for each sha256), wheels (pairs of sha256 and the wheel's
own name), and target. Without a target it prints which of them the store has, as JSON. With one,
that folder gets a hard link to each, under the wheel's own name. A file is compared with its hash
each time: one that differs counts as missing.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys

BLOCK = 1024 * 1024


def is_whole(path: str, sha256: str) -> bool:
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while True:
                block = file.read(BLOCK)
                if not block:
                    return digest.hexdigest() == sha256
                digest.update(block)
    except OSError:
        return False


def path_of(store: str, sha256: str) -> str:
    return os.path.join(store, sha256 + ".whl")


def look(store: str, wheels: list[list[str]]) -> None:
    os.makedirs(store, exist_ok=True)
    found = [sha256 for sha256, _ in wheels if is_whole(path_of(store, sha256), sha256)]
    print(json.dumps(found))


def lay(store: str, wheels: list[list[str]], target: str) -> None:
    wrong = [name for sha256, name in wheels if not is_whole(path_of(store, sha256), sha256)]
    if wrong:
        sys.exit(", ".join(wrong) + " did not arrive intact: nothing was installed. Try again.")
    # An earlier attempt may have left other wheels there, which the installer would find.
    shutil.rmtree(target, ignore_errors=True)
    os.makedirs(target)
    for sha256, name in wheels:
        link(path_of(store, sha256), os.path.join(target, os.path.basename(name)))


def link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links, or with a limit on them
        shutil.copyfile(source, target)


def main() -> None:
    facts = json.load(sys.stdin)
    if facts["target"]:
        lay(facts["store"], facts["wheels"], facts["target"])
    else:
        look(facts["store"], facts["wheels"])


main()
