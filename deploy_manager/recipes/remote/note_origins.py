"""Note where packages of a virtual environment come from. Run by its own Python, 3.8 or later.

Reads JSON: by the normalised names of packages, what their direct_url.json is to contain. Packages
that are not installed are left out.
"""

from __future__ import annotations

import json
import os
import re
import sys
import sysconfig

NOTE = "direct_url.json"


def name_of(folder: str) -> str:
    stem = folder.rpartition(".")[0].partition("-")[0]
    return re.sub(r"[-_.]+", "-", stem).lower()


def note(folder: str, content: object) -> None:
    path = os.path.join(folder, NOTE)
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(content, file)
    os.replace(path + ".new", path)
    line = f"{os.path.basename(folder)}/{NOTE},,\n"
    with open(os.path.join(folder, "RECORD"), "a+", encoding="utf-8") as record:
        record.seek(0)
        if line not in record.readlines():
            record.write(line)


def main() -> None:
    origins = json.load(sys.stdin)
    paths = sysconfig.get_paths()
    for place in dict.fromkeys(paths[kind] for kind in ("purelib", "platlib")):
        for entry in sorted(os.listdir(place)):
            if entry.endswith(".dist-info") and name_of(entry) in origins:
                note(os.path.join(place, entry), origins[name_of(entry)])


main()
