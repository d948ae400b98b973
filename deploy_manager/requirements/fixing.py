"""Which versions of a package end everything that is known against it."""

from collections.abc import Iterable, Sequence

from packaging.version import Version

from deploy_manager.requirements.versions import parsed_version


def versions_that_fix(fixed_in: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """Return, oldest first, the versions named anywhere that are good for every advisory.

    `fixed_in` has for each advisory the first good version of each line that was mended: after
    4.2.9 and 5.2.8, 4.2.10 and 5.2.9 are the ones good for both. The newest is always among them.
    """
    advisories = [sorted(filter(None, map(parsed_version, each))) for each in fixed_in]
    named = sorted({version for each in advisories for version in each})
    good = [version for version in named if all(_fixes(version, each) for each in advisories)]
    return tuple(map(str, good))


def is_fixed(version: str, fixed_in: Iterable[str]) -> bool:
    """Whether a version is good, where these are the first good ones of their lines."""
    first_good = sorted(filter(None, map(parsed_version, fixed_in)))
    return _fixes(Version(version), first_good)


def _fixes(version: Version, first_good: Sequence[Version]) -> bool:
    """Whether it comes after the first good one of its own line, or of the last line."""
    older = [each for each in first_good if each <= version]
    if len(older) == len(first_good):
        return True
    return bool(older) and older[-1].release[:2] == version.release[:2]
