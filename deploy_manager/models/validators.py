"""Allow-lists for all values that may reach git, ssh, a path or a shell.

They are checked when a form saves a model, and again by the worker, since rows are also written
around forms. Values are quoted nevertheless, at each place that uses them.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.utils.translation import gettext_lazy as _

from deploy_manager.conf import get_settings
from deploy_manager.exceptions import ConfigurationError
from deploy_manager.models.states import State, notified_of
from deploy_manager.pin_parts import ENDS_A_MARKER, EXTRA
from deploy_manager.refs import is_ref_name
from deploy_manager.rollout_size import cut_waves, parse_rollout_size
from deploy_manager.schedule.slots import check_cron
from deploy_manager.schedule.windows import check_zone, parse_windows

# \Z at each end: $ would also take a newline after the value.
variable_name_validator = RegexValidator(
    r"^[A-Za-z_][A-Za-z0-9_]{0,199}\Z", _("Enter the name of a variable, like SECRET_KEY.")
)
name_validator = RegexValidator(
    r"^[a-z][a-z0-9_-]{0,49}\Z",
    _("Use lower case letters, digits, - and _, and begin with a letter: it is typed in a shell."),
)
server_name_validator = RegexValidator(
    r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z",
    _("Use letters, digits, dots, - and _, and begin with a letter or a digit."),
)
address_validator = RegexValidator(
    r"^([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*)\Z",
    _("Enter a host name or an IP address."),
)
user_validator = RegexValidator(
    r"^[A-Za-z_][A-Za-z0-9_.-]{0,31}\Z", _("Enter the name of an account on the server.")
)
# Neither a user nor a host may begin with -: git hands both to ssh, which would take them for
# options (CVE-2017-1000117).
repository_validator = RegexValidator(
    r"^((https?|ssh|git|file)://(?!-|[^/]*@-)[A-Za-z0-9/_.~%:@\[\]+-]+"
    r"|(?!-)[A-Za-z0-9_.-]+@(?!-)[A-Za-z0-9.-]+:[A-Za-z0-9/_.~-]+"
    r"|/[A-Za-z0-9/_.~+ -]+)\Z",
    _("Enter a URL (https, ssh, git, file), user@host:path, or an absolute path."),
)
absolute_path_validator = RegexValidator(
    r"^(/(?!\.\.?(/|$))[A-Za-z0-9_.+@~-]+)+\Z",
    _("Enter an absolute path without spaces, like /srv/shop."),
)
# As in units and programs below, nothing begins with -: a command would take it for an option.
relative_path_validator = RegexValidator(
    r"^(?!\.\.?(/|$))[A-Za-z0-9_.+@][A-Za-z0-9_.+@-]*"
    r"(/(?!\.\.?(/|$))[A-Za-z0-9_.+@][A-Za-z0-9_.+@-]*)*\Z",
    _("Enter a path inside the code, like config/wsgi.py."),
)
# *.part is what a release is called while it is unpacked.
release_name_validator = RegexValidator(
    r"^(?!.*\.part\Z)[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z",
    _("Enter the name of a folder: letters, digits, dots, - and _."),
)
# 64 characters: in a repository that hashes by SHA-256.
commit_validator = RegexValidator(r"^[0-9a-f]{7,64}\Z", _("Enter the hash of a commit."))
unit_validator = RegexValidator(
    r"^[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]*\Z",
    _("Enter the name of a systemd unit, like shop.service."),
)
program_validator = RegexValidator(
    r"^[A-Za-z0-9_.][A-Za-z0-9_.-]*(:([A-Za-z0-9_.-]+|\*))?\Z",
    _("Enter the name of a supervisor program, like shop or shop:web."),
)
python_validator = RegexValidator(
    r"^(/[A-Za-z0-9_.+-]+)*/?[A-Za-z0-9_.+]+\Z",
    _("Enter a command or an absolute path, like python3.12."),
)
module_validator = RegexValidator(
    r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*\Z", _("Enter a dotted Python name, like config.settings.")
)
wsgi_validator = RegexValidator(
    r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*\Z",
    _("Enter a module and a variable, like config.wsgi:application."),
)
bind_validator = RegexValidator(
    r"^((\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+|\{address\}):[0-9]{1,5}"
    r"|unix:(/[A-Za-z0-9_.+@-]+)+)\Z",
    _("Enter host:port, like 127.0.0.1:8001 or {address}:8001, or unix:/path."),
)
url_path_validator = RegexValidator(
    r"^/[A-Za-z0-9/_.~%?=&+:@,;-]*\Z", _("Enter a path that begins with /, like /health/.")
)
host_header_validator = RegexValidator(
    r"^[A-Za-z0-9.-]+(:[0-9]{1,5})?\Z", _("Enter a host name, like www.example.org.")
)
index_url_validator = RegexValidator(
    r"^(https?|file)://[A-Za-z0-9/_.~%:\[\]+-]+\Z",
    _("Enter a URL: https://, http:// or file://, without user name and password."),
)


# What reaches a command as one word, or is a path; never an option, and never read by a shell.
reference_validator = RegexValidator(
    r"^(?!-)[A-Za-z0-9_.:/@~%+=,?&#\[\]-]+\Z",
    _("Use letters, digits and signs without spaces, and do not begin with -."),
)
# As netrc takes it: see logins.py.
login_validator = RegexValidator(
    r"^[A-Za-z0-9_.@+$%=/-]+\Z", _("Enter a user name without spaces and quotes.")
)

OUR_NAMES = frozenset({"venv", "venv.new", ".complete"})
"""The names that deploy_manager itself uses at the top of a release's folder."""

LONGEST_VARIABLE, LONGEST_VARIABLES = 64 * 1024, 512 * 1024
"""Bytes of one variable, and of all: well below the limits at which Linux starts no process.

Those are 128 KiB for one string and a quarter of the stack for all: execve(2), E2BIG.
"""

MOST_PATHS, LONGEST_PATH = 100, 200
"""Of shared folders; characters."""

MOST_COMMANDS, LONGEST_COMMAND = 50, 1000
"""Of a build; characters."""

MOST_WORDS, LONGEST_ARGUMENTS = 100, 10_000
"""Of a one-off command; characters."""

_COMMAND = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_LOGIN_IN_REPOSITORY = re.compile(r"https?://[^/]*@|[a-z]+://[^/@]*:[^/]*@", re.IGNORECASE)
# Those that pip takes: its hash-checking mode refuses md5 and sha1.
_STRONG_HASH = re.compile(r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}")
_VERSION_LETTERS = re.compile(r"[A-Za-z0-9.!+_-]+")
_MIGRATION = re.compile(r"[A-Za-z_]\w{0,99}\.\w{1,255}", re.ASCII)
_DATABASE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,49}", re.ASCII)

# Marks of direction let a text read otherwise than it runs: CVE-2021-42574.
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Controls except tab and line feed, marks that change the direction of text, surrogates."""


def validate_repository(value: str) -> None:
    """Take a git URL or a path without a password. Raises ValidationError, which has none either.

    A user name in an https URL is refused, too: most often it is a token. http:// and git:// are
    taken only of hosts that the settings name: who can change what is sent changes what runs.
    """
    if _LOGIN_IN_REPOSITORY.match(value):
        raise ValidationError(
            _(
                "Enter the URL without user name, password and token: it is stored in the database"
                " and shown on pages. Add a credential for its host instead, of the kind “git over"
                " HTTPS”: it is sealed."
            )
        )
    repository_validator(value)
    scheme, _separator, rest = value.partition("://")
    if rest and scheme in ("http", "git"):
        host = (urlsplit(value).hostname or "").lower()
        if host not in {one.lower() for one in get_settings().INSECURE_REPOSITORIES}:
            raise ValidationError(
                _(
                    "%(scheme)s:// is not encrypted: anybody on the way could send other code. Use"
                    " https:// or ssh, or name the host %(host)s in"
                    " DEPLOY_MANAGER['INSECURE_REPOSITORIES']."
                ),
                params={"scheme": scheme, "host": host},
            )


def validate_index_url(value: str) -> None:
    """Take the URL of a package index. Raises ValidationError, which has no password either."""
    if _LOGIN_IN_REPOSITORY.match(value):
        raise ValidationError(
            _(
                "Enter the URL without user name, password and token: it is stored in the database"
                " and shown on pages. Add a credential for its host instead, of the kind “package"
                " index”: it is sealed."
            )
        )
    index_url_validator(value)


def validate_public_lines(value: str) -> None:
    """Take lines of known_hosts. Raises ValidationError for a private key, which is a secret."""
    if "PRIVATE KEY" in value:
        raise ValidationError(_("This is a private key: it belongs into the field of the secret."))
    validate_command(value)


LOCAL = "local"
"""The connection of a server that is the worker's own machine; see `Server.Connection`."""


def validate_connection(value: str) -> None:
    """Refuse the worker's own machine unless a setting allows it. Raises ValidationError.

    Whoever deploys to it runs commands as the account of the worker, which holds all the keys.
    """
    if value != LOCAL:
        return
    try:
        is_allowed = get_settings().LOCAL_SERVERS
    except ConfigurationError as error:
        raise ValidationError(str(error)) from None
    if not is_allowed:
        raise ValidationError(
            _(
                "The worker's own machine is no server here: whoever deploys to it could read the"
                " keys of all others. Reach it over SSH, as an account of its own. For a try-out"
                ' set DEPLOY_MANAGER = {"LOCAL_SERVERS": True} in settings.py.'
            )
        )


def validate_ref(value: str) -> None:
    """Take the name of a branch, a tag or a commit. Raises ValidationError."""
    if not is_ref_name(value):
        raise ValidationError(
            _(
                "Enter a branch, a tag or a commit as git names them: no spaces, no - at the"
                " beginning, and none of %(signs)s"
            ),
            params={"signs": "~ ^ : ? * [ \\ $ ` ' \" | & ; < > .. // @{"},
        )


def validate_variables(value: object) -> None:
    """Take environment variables: a JSON object of strings. Raises ValidationError."""
    if not isinstance(value, Mapping):
        raise ValidationError(_('Enter a JSON object, like {"DEBUG": "0"}.'))
    total = 0
    for name, text in value.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,199}", str(name)):
            raise ValidationError(
                _("%(name)s is not the name of a variable."), params={"name": _short(name)}
            )
        try:
            # JSON may have halves of surrogate pairs, which no encoding has.
            size = len(text.encode()) if isinstance(text, str) and "\0" not in text else -1
        except UnicodeEncodeError:
            size = -1
        if size < 0:
            raise ValidationError(_("The value of %(name)s must be text."), params={"name": name})
        total += len(name) + size
        if size > LONGEST_VARIABLE or total > LONGEST_VARIABLES:
            raise ValidationError(
                _("The value of %(name)s is too long for a process."), params={"name": name}
            )


def validate_command(value: str) -> None:
    """Take a command line for sh. Raises ValidationError for invisible characters.

    Anything else is allowed: people with the right to change an environment may run commands there.
    """
    if _UNSEEN.search(value):
        raise ValidationError(_("A command can't contain control characters."))


def validate_build_commands(value: object) -> None:
    """Take a JSON list of command lines for sh, in their order. Raises ValidationError."""
    if not isinstance(value, list) or not all(
        isinstance(line, str) and line.strip() for line in value
    ):
        raise ValidationError(
            _("Enter a JSON list of commands, like %(example)s."),
            params={"example": '["npm ci", "npm run build"]'},
        )
    if len(value) > MOST_COMMANDS or any(len(line) > LONGEST_COMMAND for line in value):
        raise ValidationError(
            _("Enter at most %(count)d commands of at most %(length)d characters."),
            params={"count": MOST_COMMANDS, "length": LONGEST_COMMAND},
        )
    for line in value:
        validate_command(line)


def validate_roles(value: object) -> None:
    """Take a JSON list of role names. Raises ValidationError."""
    if not isinstance(value, list) or not all(isinstance(role, str) for role in value):
        raise ValidationError(_('Enter a JSON list, like ["app", "static"].'))
    for role in value:
        name_validator(role)


def validate_code_path(value: str) -> None:
    """Take a path inside the code, except names of ours. Raises ValidationError."""
    relative_path_validator(value)
    if value.partition("/")[0] in OUR_NAMES:
        raise ValidationError(
            _("deploy_manager itself uses the name %(name)s in a release."), params={"name": value}
        )


def validate_relative_paths(value: object) -> None:
    """Take a JSON list of paths inside the code, except names of ours. Raises ValidationError."""
    if not isinstance(value, list) or not all(isinstance(path, str) for path in value):
        raise ValidationError(_('Enter a JSON list, like ["media"].'))
    if len(value) > MOST_PATHS or any(len(path) > LONGEST_PATH for path in value):
        raise ValidationError(
            _("Enter at most %(count)d paths of at most %(length)d characters."),
            params={"count": MOST_PATHS, "length": LONGEST_PATH},
        )
    for path in value:
        validate_code_path(path)


def validate_migrations(value: object) -> None:
    """Take a JSON list of migrations, like shop.0005_name. Raises ValidationError."""
    if not isinstance(value, list) or not all(
        isinstance(name, str) and _MIGRATION.fullmatch(name) for name in value
    ):
        raise ValidationError(_('Enter a JSON list of migrations, like ["shop.0005_name"].'))


def validate_arguments(value: object) -> None:
    """Take the words after manage.py: a JSON list that begins with a command.

    Raises ValidationError.
    """
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise ValidationError(
            _("Enter a JSON list of words, like %(example)s."),
            params={"example": '["clearsessions", "--verbosity", "2"]'},
        )
    # Not an option: those before the command would choose other settings or other code.
    if not value or not _COMMAND.fullmatch(value[0]):
        raise ValidationError(
            _("Begin with the name of a command of the site, like %(example)s."),
            params={"example": "clearsessions --verbosity 2"},
        )
    if len(value) > MOST_WORDS or sum(map(len, value)) > LONGEST_ARGUMENTS:
        raise ValidationError(
            _("Enter at most %(count)d words of at most %(length)d characters together."),
            params={"count": MOST_WORDS, "length": LONGEST_ARGUMENTS},
        )
    for word in value:
        validate_command(word)


def validate_databases(value: object) -> None:
    """Take a JSON list of names in DATABASES, each once. Raises ValidationError."""
    if (
        not isinstance(value, list)
        or not all(isinstance(name, str) and _DATABASE.fullmatch(name) for name in value)
        or len(set(value)) < len(value)
    ):
        raise ValidationError(
            _('Enter a JSON list of names in DATABASES, each once: ["default", "reports"].')
        )


def validate_rollout_size(value: str) -> None:
    """Take a number of hosts, or a percentage of them: 2, 25 %. Raises ValidationError."""
    _explained(parse_rollout_size, value)


def validate_batch(value: str) -> None:
    """Take a number of hosts or a percentage that is not zero. Raises ValidationError."""
    _explained(lambda text: cut_waves([None], "", text), value)


def validate_windows(value: object) -> None:
    """Take a JSON list of times, like "mon-fri 09:00-17:00". Raises ValidationError."""
    if not isinstance(value, list) or not all(isinstance(line, str) for line in value):
        raise ValidationError(_('Enter a JSON list, like ["mon-fri 09:00-17:00"].'))
    _explained(parse_windows, value)


def validate_time_zone(value: str) -> None:
    """Take the name of a time zone. Raises ValidationError."""
    _explained(check_zone, value)


def validate_package(value: str) -> None:
    """Take a normalised name of a package. Raises ValidationError."""
    from packaging.utils import is_normalized_name

    # Older versions of packaging allow a newline after the name.
    if not is_normalized_name(value) or value != value.strip():
        raise ValidationError(_("Enter the normalised name of a package, like my-package."))


_PLACE = r"[A-Za-z0-9._~%+@:/\[\]=&?,-]+"
# A user only for ssh, and never a password: whoever reads a pin would read it.
validate_direct_url = RegexValidator(
    r"^(git\+(ssh://([A-Za-z0-9._-]+@)?|(https?|file)://)(?![^/]*@)"
    rf"{_PLACE}@[0-9a-f]{{40}}(#subdirectory=[A-Za-z0-9._/-]+)?"
    rf"|https?://(?![^/]*@){_PLACE}#sha256=[0-9a-f]{{64}})\Z",
    _("Enter git+https://…@ and the 40 digits of a commit, or https://…#sha256=…"),
)


def validate_version(value: str) -> None:
    """Take one exact version, as after == in a pin. Raises ValidationError."""
    from packaging.version import Version

    try:
        Version(value)
    except ValueError:
        valid = False
    else:
        # Version() allows spaces and newlines around it; here it becomes part of a line.
        valid = _VERSION_LETTERS.fullmatch(value) is not None
    if not valid:
        raise ValidationError(_("Enter a version, like 5.2.8."))


def validate_marker(value: str) -> None:
    """Take an environment marker of PEP 508. Raises ValidationError."""
    from packaging.markers import Marker

    try:
        Marker(value)
    except (ValueError, RecursionError):
        # RecursionError: thousands of nested parentheses.
        valid = False
    else:
        valid = not ENDS_A_MARKER.search(value)
    if not valid:
        raise ValidationError(_("Enter a marker, like python_version < '3.12'."))


def validate_extras(value: object) -> None:
    """Take a JSON list of a package's extras. Raises ValidationError."""
    if not isinstance(value, list) or not all(
        isinstance(extra, str) and EXTRA.fullmatch(extra) for extra in value
    ):
        raise ValidationError(_('Enter a JSON list of extras, like ["argon2"].'))


def validate_hashes(value: object) -> None:
    """Take a JSON list of hashes that pip accepts, like sha256:…. Raises ValidationError."""
    if not isinstance(value, list) or not all(
        isinstance(one, str) and _STRONG_HASH.fullmatch(one) for one in value
    ):
        raise ValidationError(_('Enter a JSON list of hashes, like ["sha256:…"].'))


def validate_packages(value: object) -> None:
    """Take a JSON list of normalised names of packages. Raises ValidationError."""
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValidationError(_('Enter a JSON list of packages, like ["django", "celery"].'))
    for name in value:
        validate_package(name)


def validate_groups(value: object) -> None:
    """Take a JSON list of lists of packages. Raises ValidationError."""
    if not isinstance(value, list) or not all(isinstance(group, list) for group in value):
        raise ValidationError(_('Enter a JSON list of groups, like [["django", "channels"]].'))
    for group in value:
        validate_packages(group)


def validate_cron(value: str) -> None:
    """Take five fields of cron. Raises ValidationError."""
    _explained(check_cron, value)


def validate_states(value: object) -> None:
    """Take a JSON list of what people can be notified of. Raises ValidationError."""
    known = [value for value, _label in notified_of()]
    if not isinstance(value, list) or not all(state in known for state in value):
        raise ValidationError(
            _("Enter a JSON list of these: %(known)s."), params={"known": ", ".join(known)}
        )


def validate_ends(value: object) -> None:
    """Take a JSON list of states in which a deployment ends. Raises ValidationError."""
    known = [state.value for state in State if not state.is_live and state is not State.SKIPPED]
    if not isinstance(value, list) or not all(state in known for state in value):
        raise ValidationError(
            _("Enter a JSON list of these: %(known)s."), params={"known": ", ".join(known)}
        )


def validate_contexts(value: object) -> None:
    """Take a JSON list of names of a CI's checks. Raises ValidationError."""
    if not isinstance(value, list) or not all(
        isinstance(each, str) and each.strip() and each.isprintable() and len(each) <= 200
        for each in value
    ):
        raise ValidationError(_('Enter a JSON list of names of checks, like ["tests"].'))


def validate_webhook_address(value: str) -> None:
    """Take an address that a webhook can be sent to. Raises ValidationError."""
    try:
        parts = urlsplit(value)
        is_fit = parts.scheme in ("http", "https") and bool(parts.hostname)
        is_fit = is_fit and (parts.port is None or parts.port > 0) and not parts.username
    except ValueError:
        is_fit = False
    if not is_fit or parts.fragment or not value.isascii() or not value.isprintable():
        raise ValidationError(
            _("Enter an address like https://example.org/hook, without a user and a password.")
        )


def _short(value: object) -> str:
    """Return a hostile value so that an error message can contain it."""
    text = _UNSEEN.sub("\N{REPLACEMENT CHARACTER}", str(value)).replace("\n", " ")
    return f"{text[:60]}…" if len(text) > 60 else text


def _explained(check: Callable[[Any], object], value: object) -> None:
    """Run a check that knows nothing of Django. Raises ValidationError with its explanation."""
    try:
        check(value)
    except ValueError as error:
        raise ValidationError(str(error)) from None
