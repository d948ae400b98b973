"""Parse the options of a line: pip-requirements-parser's table, updated to the present pip."""

import shlex
from collections.abc import Callable
from optparse import Option, OptionParser, OptionValueError, Values
from typing import Any

from django.utils.translation import gettext as _
from pip_requirements_parser import OptionParsingError, break_args_options, build_parser

STRONG_HASHES = ("sha256", "sha384", "sha512")

_GONE = (
    *("--install-option", "--global-option", "--always-unzip", "--no-use-wheel"),
    *("--allow-all-external", "--allow-external", "--allow-unverified"),
)
"""Options that pip 26 removed: an abbreviation of one may mean another option there."""

_OTHERS = ("--requirement", "--hash", "--use-feature", "--no-binary", "--only-binary")
"""Options that pip 26 changed."""

_FEATURES = (
    *("fast-deps", "inprocess-build-deps", "venv-isolation"),
    *("truststore", "no-binary-enable-wheel-cache", "build-constraint"),
)


class BadOptionsError(ValueError):
    """Options that pip does not accept."""


class LineOptions:
    """Parses the options of lines, with one parser for all the lines of a file."""

    def __init__(self) -> None:
        self._parser = _parser()

    def split(self, line: str) -> tuple[str, Values]:
        """Split a line into what precedes its options, and the options. Raises BadOptionsError."""
        before, options = break_args_options(line)
        try:
            values, _ignored_as_pip_does = self._parser.parse_args(shlex.split(options))
        except OptionParsingError as error:
            raise BadOptionsError(error.msg.partition("error: ")[2].strip() or error.msg) from None
        except ValueError as error:
            raise BadOptionsError(str(error)) from None
        return before, values


def _parser() -> OptionParser:
    parser: OptionParser = build_parser()
    for name in (*_GONE, *_OTHERS):
        parser.remove_option(name)
    parser.add_option("-r", "--requirement", dest="requirements", action="append")
    parser.add_option("--no-require-hashes", action="store_true")
    parser.add_option("--use-feature", action="append", dest="use_features", choices=_FEATURES)
    _add_checked(parser, "--hash", dest="hashes", check=_check_hash)
    _add_checked(parser, "-C", "--config-settings", dest="config_settings", check=_check_setting)
    # pip takes :all: and :none: or names; a missing value would swallow the next option.
    for name in ("--no-binary", "--only-binary", "--all-releases", "--only-final"):
        _add_checked(parser, name, dest=name[2:].replace("-", "_"), check=_check_packages)
    # Without defaults each line gets its own lists; the table's lists would be shared by all.
    parser.set_defaults(**dict.fromkeys(parser.defaults))
    return parser


def _add_checked(
    parser: OptionParser, *names: str, dest: str, check: Callable[[str, str], None]
) -> None:
    def append(option: Option, name: str, value: str, parser: OptionParser) -> None:
        check(name, value)
        values: Any = parser.values
        values.ensure_value(dest, []).append(value)

    parser.add_option(*names, dest=dest, type="string", action="callback", callback=append)


def _check_hash(name: str, value: str) -> None:
    algorithm, colon, _digest = value.partition(":")
    if not colon or algorithm not in STRONG_HASHES:
        known = ", ".join(STRONG_HASHES)
        text = _("%(name)s takes %(known)s, like sha256:…")
        raise OptionValueError(text % {"name": name, "known": known})


def _check_setting(name: str, value: str) -> None:
    if "=" not in value:
        raise OptionValueError(_("%(name)s takes KEY=VALUE") % {"name": name})


def _check_packages(name: str, value: str) -> None:
    if value.startswith("-"):
        text = _("%(name)s takes names of packages, :all: or :none:")
        raise OptionValueError(text % {"name": name})
