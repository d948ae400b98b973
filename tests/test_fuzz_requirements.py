"""Requirements files that nobody wrote: what pip takes is taken, what it refuses is refused.

A short form; `python -m tests.fuzz_requirements` tries 5,000 folders of files.
"""

from collections.abc import Iterator

import pytest

from tests.fuzz_requirements import compare
from tests.parts.pip_reader import PipReader

FOUND = (50, 842, 1470, 2265, 2346, 2599, 3078, 4039, 7463)
"""Seeds of folders of which the two once said different things."""


@pytest.fixture(scope="module")
def pip_reader() -> Iterator[PipReader]:
    reader = PipReader()
    yield reader
    reader.close()


@pytest.mark.parametrize("first", [1, 100_000])
def test_our_reader_and_pips_agree_line_by_line(pip_reader: PipReader, first: int) -> None:
    counted, different = compare(range(first, first + 150), pip_reader)
    assert different == []
    assert counted["accepted by both"] > 15
    assert counted["lines accepted"] > 100
    assert counted["lines refused"] > 100


def test_what_was_once_read_another_way_than_by_pip_no_longer_is(pip_reader: PipReader) -> None:
    for seed in FOUND:
        assert compare(range(seed, seed + 1), pip_reader)[1] == []
