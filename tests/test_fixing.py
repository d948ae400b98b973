"""A version that fixes one advisory may be open to another one."""

import pytest

from deploy_manager.requirements.fixing import versions_that_fix


@pytest.mark.parametrize(
    ("fixed_in", "good"),
    [
        ([["5.2.8"]], ("5.2.8",)),
        ([["4.2.9", "5.2.8"]], ("4.2.9", "5.2.8")),
        ([["4.2.9", "5.2.8"], ["4.2.10", "5.2.9"]], ("4.2.10", "5.2.9")),
        ([["4.2.9", "5.2.8"], ["5.1.4"]], ("5.2.8",)),
        ([["1.10"], ["1.9"]], ("1.10",)),
        ([["2.0"], []], ("2.0",)),
        ([["nonsense", "2.0"]], ("2.0",)),
        ([], ()),
    ],
)
def test_only_what_is_good_for_every_advisory_is_taken(
    fixed_in: list[list[str]], good: tuple[str, ...]
) -> None:
    assert versions_that_fix(fixed_in) == good
