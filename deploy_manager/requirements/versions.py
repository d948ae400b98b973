"""How versions are read that may be none."""

from packaging.version import InvalidVersion, Version


def parsed_version(text: str) -> Version | None:
    """Return the version a text spells, or None."""
    try:
        return Version(text)
    except InvalidVersion:
        return None
