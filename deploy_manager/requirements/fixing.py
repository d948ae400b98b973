"""Find the versions of a package that fix all its known advisories."""

from collections.abc import Iterable, Sequence

from packaging.version import Version

from deploy_manager.requirements.versions import parsed_version


def versions_that_fix(fixed_in: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """Return, oldest first, those of the named versions that fix every advisory.

    `fixed_in` has for each advisory the first fixed version of each release line. Of (4.2.9, 5.2.8)
    and (4.2.10, 5.2.9), 4.2.10 and 5.2.9 fix both. The newest is always among them.
    """
    advisories = [sorted(filter(None, map(parsed_version, each))) for each in fixed_in]
    named = sorted({version for each in advisories for version in each})
    good = [version for version in named if all(_fixes(version, each) for each in advisories)]
    return tuple(map(str, good))


def is_fixed(version: str, fixed_in: Iterable[str]) -> bool:
    """Whether a version is fixed, given the first fixed version of each release line."""
    first_fixed = sorted(filter(None, map(parsed_version, fixed_in)))
    return _fixes(Version(version), first_fixed)


def _fixes(version: Version, first_fixed: Sequence[Version]) -> bool:
    older = [each for each in first_fixed if each <= version]
    if len(older) == len(first_fixed):
        return True
    # 5.1 came before the fix in 5.2.8 but after that in 4.2.9: only its own line counts.
    return bool(older) and older[-1].release[:2] == version.release[:2]
