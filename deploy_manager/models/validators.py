"""Allow-lists for every value that may reach git, ssh or a shell.

They are checked here when a model is saved through a form, and quoted again where they are used.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.utils.translation import gettext_lazy as _

from deploy_manager.models.states import State
from deploy_manager.refs import is_ref_name
from deploy_manager.shares import cut_waves, parse_share
from deploy_manager.times import check_cron, check_zone, parse_windows

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
    r"^(?!\.\.?(/|$))[A-Za-z0-9_.+@-]+(/(?!\.\.?(/|$))[A-Za-z0-9_.+@-]+)*\Z",
    _("A path inside the code, like config/wsgi.py."),
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
    for name, text in value.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", str(name)):
            raise ValidationError(_("%(name)s is no name of a variable.") % {"name": name})
        if not isinstance(text, str) or "\0" in text:
            raise ValidationError(_("The value of %(name)s must be a text.") % {"name": name})


def validate_roles(value: object) -> None:
    """A JSON list of role names. Raises ValidationError."""
    if not isinstance(value, list) or not all(isinstance(role, str) for role in value):
        raise ValidationError(_('A list is needed, like ["app", "static"].'))
    for role in value:
        name_validator(role)


def validate_relative_paths(value: object) -> None:
    """A JSON list of paths inside the code. Raises ValidationError."""
    if not isinstance(value, list) or not all(isinstance(path, str) for path in value):
        raise ValidationError(_('A list is needed, like ["media"].'))
    for path in value:
        relative_path_validator(path)


def validate_share(value: str) -> None:
    """A number of hosts, or a percentage of them: 2, 25 %. Raises ValidationError."""
    _explained(parse_share, value)


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

    if not is_normalized_name(value):
        raise ValidationError(_("A package is named like my-package."))


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


def _explained(check: Callable[[Any], object], value: object) -> None:
    try:
        check(value)
    except ValueError as error:
        raise ValidationError(str(error)) from None
