"""Requirements files that nobody wrote: our reader and pip's must say the same of each.

`python -m tests.fuzz_requirements [--count 5000] [--seed 1]` tries so many folders of files and
prints what was compared, and each disagreement with the seed that makes it again.
"""

import random
import sys
import tempfile
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from packaging.utils import canonicalize_name

from deploy_manager.requirements.any_file import read_asking
from deploy_manager.requirements.asked import Asking
from deploy_manager.requirements.text_files import NO_VERSION, ODD_BLANK
from tests.parts.pip_reader import PipAnswer, PipReader
from tests.requirements_files import ALWAYS, folder


class Case:
    """One folder of files, read by both."""

    def __init__(self, seed: int, place: Path, reader: PipReader) -> None:
        self.seed = seed
        self.files = {**ALWAYS, **folder(random.Random(seed))}
        write(self.files, place)
        self.ours = read_asking("r.txt", self.files.get)
        self.pips = reader.ask(place, "r.txt")

    @property
    def stopped(self) -> bool:
        """Whether pip could not be made to go on: no such file, no text, a loop."""
        return ("", 0) in self.pips.refused

    @property
    def on_purpose(self) -> set[tuple[str, int]]:
        """The lines that we refuse whatever pip says of them."""
        told = [one for one in self.ours.problems if one.reason.endswith(NO_VERSION)]
        told += [one for one in self.ours.problems if str(ODD_BLANK) in one.reason]
        return {(one.file, one.line) for one in told}

    def disagreements(self) -> list[str]:
        """What the two say differently."""
        bad, good = refused(self.ours) - self.on_purpose, taken(self.ours)
        pips_bad = self.pips.refused - {("", 0)} - self.on_purpose
        pips_good = {one for one in pips_taken(self.pips) if one[:2] not in self.on_purpose}
        told = []
        if self.pips.accepts == bool(self.ours.problems) and not self.on_purpose:
            told.append(f"as a whole, pip {'accepts' if self.pips.accepts else 'refuses'} it")
        told += [f"pip refuses {place}, we do not" for place in pips_bad - bad]
        told += [f"pip understands {each}, we do not" for each in pips_good - good]
        if not self.stopped:
            told += [f"we refuse {place}, pip does not" for place in bad - pips_bad]
            told += [f"we understand {each}, pip does not" for each in good - pips_good]
        return told

    def __str__(self) -> str:
        problems = "\n".join(map(str, self.ours.problems))
        reasons = "\n".join(self.pips.reasons)
        files = "\n".join(f"{name}: {self.files[name]!r}" for name in self.ours.files)
        return f"--seed {self.seed} --count 1\n{files}\nours: {problems}\npip: {reasons}\n"


def write(files: Mapping[str, bytes], place: Path) -> None:
    for name, content in files.items():
        file = place / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)


def refused(asking: Asking) -> set[tuple[str, int]]:
    return {(problem.file, problem.line) for problem in asking.problems}


def taken(asking: Asking) -> set[tuple[object, ...]]:
    return {
        (
            *(one.file, one.line, one.name, str(one.specifier), one.marker, one.extras),
            *(tuple(sorted(one.hashes)), one.editable),
        )
        for one in (*asking.requirements, *asking.constraints)
    }


def pips_taken(answer: PipAnswer) -> set[tuple[object, ...]]:
    return {
        (
            *(file, line, canonicalize_name(name) if name else "", specifier, marker),
            tuple(sorted({canonicalize_name(extra) for extra in extras})),
            *(tuple(hashes), editable),
        )
        for file, line, name, specifier, marker, extras, hashes, editable in answer.taken
    }


def compare(seeds: range, reader: PipReader) -> tuple[Counter[str], list[str]]:
    """Return what was counted, and every case in which the two differ."""
    counted: Counter[str] = Counter()
    different = []
    with tempfile.TemporaryDirectory() as name:
        for seed in seeds:
            case = Case(seed, Path(name), reader)
            counted["folders"] += 1
            counted["accepted by both" if case.pips.accepts else "refused by both"] += 1
            counted["lines accepted"] += len(taken(case.ours))
            counted["lines refused"] += len(case.pips.refused)
            counted["lines refused on purpose"] += len(case.on_purpose)
            counted["cut short"] += case.stopped
            if told := case.disagreements():
                different.append("\n".join([*told, str(case)]))
    return counted, different


def main() -> int:
    parser = ArgumentParser(prog="python -m tests.fuzz_requirements")
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1, help="of the first")
    options = parser.parse_args()
    reader = PipReader()
    counted, different = compare(range(options.seed, options.seed + options.count), reader)
    reader.close()
    sys.stdout.write("\n".join(different))
    told = ", ".join(f"{number} {name}" for name, number in counted.items())
    sys.stdout.write(f"{told}; {len(different)} disagreements\n")
    return bool(different)


if __name__ == "__main__":
    sys.exit(main())
