"""A version that fixes one advisory may be open to another one."""

import pytest

from deploy_manager.requirements.fixing import versions_that_fix
from deploy_manager.requirements.reach import PinRequest, Reach


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


@pytest.mark.parametrize(
    ("current", "specifier"),
    [
        ("5.2.7", ">=5.2.9,<5.3"),
        ("4.2.1", ">=4.2.10,<4.3"),
        ("5.1.3", ">=5.2.9,<5.3"),
        ("4.2.10", "==4.2.10"),
        ("5.2.9", "==5.2.9"),
        ("6.0", "==6.0"),
    ],
)
def test_what_is_fixed_stays_and_what_is_not_goes_to_the_nearest_fix(
    current: str, specifier: str
) -> None:
    request = PinRequest("django", Reach.FIX, fixed_in=("4.2.10", "5.2.9"))
    assert request.specifier(current) == specifier
