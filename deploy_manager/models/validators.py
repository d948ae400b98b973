"""Allow-lists for every value that may reach git, ssh, a path or a shell.

They are checked when a model is saved through a form, and again by the worker, since rows are also
written around forms; and values are quoted where they are used.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.utils.translation import gettext_lazy as _

from deploy_manager.models.states import State
from deploy_manager.refs import is_ref_name
from deploy_manager.rollout_size import cut_waves, parse_rollout_size
from deploy_manager.schedule.slots import check_cron
from deploy_manager.schedule.windows import check_zone, parse_windows

name_validator = RegexValidator(
    r"^[a-z][a-z0-9_-]{0,49}\Z",
    _("Use small letters, digits, - and _, and begin with a letter: it is typed in a shell."),
)
server_name_validator = RegexValidator(
    r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z",
    _("Use letters, digits, dots, - and _."),
)
address_validator = RegexValidator(
    r"^([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*)\Z",
    _("A host name or an IP address, nothing else."),
)
user_validator = RegexValidator(
    r"^[A-Za-z_][A-Za-z0-9_.-]{0,31}\Z", _("The name of an account on the server.")
)
repository_validator = RegexValidator(
    r"^((https?|ssh|git|file)://(?!-|[^/]*@-)[A-Za-z0-9/_.~%:@\[\]+-]+"
    r"|(?!-)[A-Za-z0-9_.-]+@(?!-)[A-Za-z0-9.-]+:[A-Za-z0-9/_.~-]+"
    r"|/[A-Za-z0-9/_.~+ -]+)\Z",
    _("A URL (https, ssh, git, file), user@host:path, or an absolute path."),
)
absolute_path_validator = RegexValidator(
    r"^(/(?!\.\.?(/|$))[A-Za-z0-9_.+@~-]+)+\Z",
    _("An absolute path without spaces, like /srv/shop."),
)
relative_path_validator = RegexValidator(
    r"^(?!\.\.?(/|$))[A-Za-z0-9_.+@][A-Za-z0-9_.+@-]*"
    r"(/(?!\.\.?(/|$))[A-Za-z0-9_.+@][A-Za-z0-9_.+@-]*)*\Z",
    _("A path inside the code, like config/wsgi.py."),
)
release_name_validator = RegexValidator(
    r"^(?!.*\.part\Z)[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z",
    _("The name of a folder: letters, digits, dots, - and _."),
)
commit_validator = RegexValidator(r"^[0-9a-f]{7,64}\Z", _("The hash of a commit."))
unit_validator = RegexValidator(
    r"^[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]*\Z", _("The name of a systemd unit, like shop.service.")
)
program_validator = RegexValidator(
    r"^[A-Za-z0-9_.][A-Za-z0-9_.-]*(:([A-Za-z0-9_.-]+|\*))?\Z",
    _("The name of a supervisor program, like shop or shop:web."),
)
python_validator = RegexValidator(
    r"^(/[A-Za-z0-9_.+-]+)*/?[A-Za-z0-9_.+]+\Z",
    _("A command or an absolute path, like python3.12."),
)
module_validator = RegexValidator(
    r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*\Z", _("A dotted Python name, like config.settings.")
)
wsgi_validator = RegexValidator(
    r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*\Z", _("Like config.wsgi:application.")
)
bind_validator = RegexValidator(
    r"^((\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}|unix:(/[A-Za-z0-9_.+@-]+)+)\Z",
    _("host:port, like 127.0.0.1:8001, or unix:/path."),
)
url_path_validator = RegexValidator(
    r"^/[A-Za-z0-9/_.~%?=&+:@,;-]*\Z", _("A path that begins with /, like /health/.")
)
host_header_validator = RegexValidator(
    r"^[A-Za-z0-9.-]+(:[0-9]{1,5})?\Z", _("A host name, like www.example.org.")
)
index_url_validator = RegexValidator(
    r"^(https?|file)://[A-Za-z0-9/_.~%:\[\]+-]+\Z",
    _("A URL without user name and password; keep those in the server's pip.conf or .netrc."),
)


OUR_NAMES = frozenset({"venv", "venv.new", ".complete"})
"""What deploy_manager itself puts at the top of a release's folder."""

LONGEST_VARIABLE, LONGEST_VARIABLES = 64 * 1024, 512 * 1024
"""Bytes: a system starts no process where one of its variables, or all of them, are longer."""

MOST_PATHS, LONGEST_PATH = 100, 200

_STRONG_HASH = re.compile(r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}")
_VERSION_LETTERS = re.compile(r"[A-Za-z0-9.!+_-]+")
_EXTRA = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_MIGRATION = re.compile(r"[A-Za-z_]\w{0,99}\.\w{1,255}", re.ASCII)
_ENDS_A_MARKER = re.compile(r"[#\\$\x00-\x1f\x7f-\x9f\u2028\u2029]|\s-")
"""Behind these a line of a requirements file goes on as something else than a marker."""

_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Controls but tab and line feed, letters that turn a text around, and halves of letters."""


def validate_ref(value: str) -> None:
    """The name of a branch, a tag or a commit. Raises ValidationError."""
    if not is_ref_name(value):
        raise ValidationError(
            _(
                "A branch, a tag or a commit, as git lets it be named: no blanks, not beginning"
                " with -, and none of %(signs)s"
            ),
            params={"signs": "~ ^ : ? * [ \\ $ ` ' \" | & ; < > .. // @{"},
        )


def validate_variables(value: object) -> None:
    """Environment variables: a JSON object of names and single texts. Raises ValidationError."""
    if not isinstance(value, Mapping):
        raise ValidationError(_('An object is needed, like {"DEBUG": "0"}.'))
    total = 0
    for name, text in value.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,199}", str(name)):
            raise ValidationError(_("%(name)s is no name of a variable.") % {"name": _short(name)})
        if not isinstance(text, str) or "\0" in text or not _is_unicode(text):
            raise ValidationError(_("The value of %(name)s must be a text.") % {"name": name})
        total += len(name) + len(text.encode())
        if len(text.encode()) > LONGEST_VARIABLE or total > LONGEST_VARIABLES:
            raise ValidationError(
                _("The value of %(name)s is too long for a process.") % {"name": name}
            )


def validate_command(value: str) -> None:
    """A line for sh, written by who may write one. Raises ValidationError for what nobody sees."""
    if _UNSEEN.search(value):
        raise ValidationError(_("A command has no control characters."))


def validate_roles(value: object) -> None:
    """A JSON list of role names. Raises ValidationError."""
    if not isinstance(value, list) or not all(isinstance(role, str) for role in value):
        raise ValidationError(_('A list is needed, like ["app", "static"].'))
    for role in value:
        name_validator(role)


def validate_code_path(value: str) -> None:
    """A path inside the code that is none of ours. Raises ValidationError."""
    relative_path_validator(value)
    if value.partition("/")[0] in OUR_NAMES:
        raise ValidationError(
            _("%(name)s is a name that deploy_manager uses in a release.") % {"name": value}
        )


def validate_relative_paths(value: object) -> None:
    """A JSON list of paths inside the code that are none of ours. Raises ValidationError."""
    if not isinstance(value, list) or not all(isinstance(path, str) for path in value):
        raise ValidationError(_('A list is needed, like ["media"].'))
    if len(value) > MOST_PATHS or any(len(path) > LONGEST_PATH for path in value):
        raise ValidationError(
            _("At most %(count)d paths of %(length)d characters.")
            % {"count": MOST_PATHS, "length": LONGEST_PATH}
        )
    for path in value:
        validate_code_path(path)


def validate_migrations(value: object) -> None:
    """A JSON list of migrations like shop.0005_name. Raises ValidationError."""
    if not isinstance(value, list) or not all(
        isinstance(name, str) and _MIGRATION.fullmatch(name) for name in value
    ):
        raise ValidationError(_('A list of migrations is needed, like ["shop.0005_name"].'))


def validate_rollout_size(value: str) -> None:
    """A number of hosts, or a percentage of them: 2, 25 %. Raises ValidationError."""
    _explained(parse_rollout_size, value)


def validate_batch(value: str) -> None:
    """A share of the hosts that is not none. Raises ValidationError."""
    _explained(lambda text: cut_waves([None], "", text), value)


def validate_windows(value: object) -> None:
    """A JSON list of times like "mon-fri 09:00-17:00". Raises ValidationError."""
    if not isinstance(value, list) or not all(isinstance(line, str) for line in value):
        raise ValidationError(_('A list is needed, like ["mon-fri 09:00-17:00"].'))
    _explained(parse_windows, value)


def validate_time_zone(value: str) -> None:
    """The name of a time zone. Raises ValidationError."""
    _explained(check_zone, value)


def validate_package(value: str) -> None:
    """A normalised name of a package. Raises ValidationError."""
    from packaging.utils import is_normalized_name

    # Older versions of packaging take a line's end behind a name.
    if not is_normalized_name(value) or value != value.strip():
        raise ValidationError(_("A package is named like my-package."))


def validate_version(value: str) -> None:
    """One exact version, as it stands behind == in a pin. Raises ValidationError."""
    from packaging.version import Version

    try:
        Version(value)
    except ValueError:
        valid = False
    else:
        # A version may have blanks around it, and a line's end: not where it becomes a line.
        valid = _VERSION_LETTERS.fullmatch(value) is not None
    if not valid:
        raise ValidationError(_("A version is like 5.2.8."))


def validate_marker(value: str) -> None:
    """When a pin counts, in the words of PEP 508. Raises ValidationError."""
    from packaging.markers import Marker

    try:
        Marker(value)
    except (ValueError, RecursionError):
        valid = False
    else:
        valid = not _ENDS_A_MARKER.search(value)
    if not valid:
        raise ValidationError(_("A marker is like python_version < '3.12'."))


def validate_extras(value: object) -> None:
    """A JSON list of a package's extras. Raises ValidationError."""
    if not isinstance(value, list) or not all(
        isinstance(extra, str) and _EXTRA.fullmatch(extra) for extra in value
    ):
        raise ValidationError(_('A list of extras is needed, like ["argon2"].'))


def validate_hashes(value: object) -> None:
    """A JSON list of hashes that pip takes, like sha256:…. Raises ValidationError."""
    if not isinstance(value, list) or not all(
        isinstance(one, str) and _STRONG_HASH.fullmatch(one) for one in value
    ):
        raise ValidationError(_('A list of hashes is needed, like ["sha256:…"].'))


def validate_packages(value: object) -> None:
    """A JSON list of normalised names of packages. Raises ValidationError."""
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValidationError(_('A list of packages like ["django", "celery"].'))
    for name in value:
        validate_package(name)


def validate_groups(value: object) -> None:
    """A JSON list of lists of packages. Raises ValidationError."""
    if not isinstance(value, list):
        raise ValidationError(_('A list of groups like [["django", "channels"]].'))
    for group in value:
        validate_packages(group)


def validate_cron(value: str) -> None:
    """Five fields of cron. Raises ValidationError."""
    _explained(check_cron, value)


def validate_states(value: object) -> None:
    """A JSON list of states that a deployment ends in. Raises ValidationError."""
    known = [state.value for state in State if not state.is_live and state is not State.SKIPPED]
    if not isinstance(value, list) or not set(value) <= set(known):
        raise ValidationError(
            _("A list of these is needed: %(known)s.") % {"known": ", ".join(known)}
        )


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _short(value: object) -> str:
    """Return a hostile value as an error can tell it."""
    text = _UNSEEN.sub("\N{REPLACEMENT CHARACTER}", str(value)).replace("\n", " ")
    return f"{text[:60]}…" if len(text) > 60 else text


def _explained(check: Callable[[Any], object], value: object) -> None:
    try:
        check(value)
    except ValueError as error:
        raise ValidationError(str(error)) from None
