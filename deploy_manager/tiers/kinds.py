"""Kinds of tiers: what each of them is configured by, and where they are found.

A kind is a folder: of `deploy_manager.tiers`, or of a package `tiers` in any installed app.
"""

import pkgutil
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.resources import files

from django.apps import apps
from django.template import Context, Engine
from django.utils.module_loading import module_has_submodule
from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import ConfigurationError
from deploy_manager.messages import Message
from deploy_manager.tiers.listening import Listen


@dataclass(frozen=True)
class Facts:
    """One tier on one server, as plain data."""

    kind: str
    name: str
    """Of the tier in its environment, like `nginx`."""

    site: str
    """Of the environment, like `shop/production`."""

    prefix: str
    """What names of files and units begin with: unique on the server, like `shop-production`."""

    deploy_path: str
    account: str
    """That the site's processes run as."""

    address: str
    """That other servers reach this one by."""

    listen: tuple[Listen, ...] = ()
    names: tuple[str, ...] = ()
    """Host names of the site; the first one is the main one."""

    certificate: str = ""
    certificate_key: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    """Those of the kind, complete: each that was not given has its default."""

    lines: str = ""
    """Lines of the server's own configuration, as people entered them."""

    secret: str = field(default="", repr=False)
    """The password that clients need, if the kind has one."""

    backends: tuple[str, ...] = ()
    """host:port or unix:/path of what the requests are passed on to."""

    is_backend: bool = False
    """Whether another web server of the environment passes its requests on to this one."""

    runs_site: bool = False
    """Whether it runs the site itself here, as mod_wsgi, instead of passing requests on."""

    has_code: bool = True
    """Whether releases are on this server, with their static files."""

    processes: int = 2
    """How many processes the environment gives a web server."""

    clients: tuple[str, ...] = ()
    """Addresses of the servers that may connect."""

    @property
    def label(self) -> str:
        """What its files and units are called: unique on the server."""
        return f"{self.prefix}-{self.name}"

    @property
    def identifier(self) -> str:
        """The label as a word of letters, digits and _."""
        return re.sub(r"\W", "_", self.label)

    @property
    def url_host(self) -> str:
        """host:port in URLs of clients."""
        listen = self.listen[0]
        return f"{self.address if listen.is_everywhere else listen.host}:{listen.port}"


@dataclass(frozen=True)
class File:
    """A file of configuration that is ours alone."""

    path: str
    text: str
    mode: int = 0o644
    group: str = "root"
    """That may read it, if the mode says so. The owner is root."""


@dataclass(frozen=True)
class Proof:
    """An answer that shows which configuration is in effect."""

    url: str
    host: str
    """The Host header, and the name that TLS asks for."""

    digest: str


@dataclass(frozen=True)
class Configuration:
    """What a tier needs on a server: files, how they are tested and put into effect, the proof."""

    files: tuple[File, ...]
    test: tuple[str, ...]
    """A command that judges the files where they belong; it sees them there before anyone else."""

    unit: str
    """The systemd unit that reads them."""

    own_unit: bool = False
    """Whether the unit is the site's alone, so that it ends with the tier."""

    restarts: bool = False
    """Whether the unit is restarted by a change: it can't read its configuration anew."""

    proofs: tuple[Proof, ...] = ()
    certificate: str = ""
    """A file that `files` need; while there is none, `without_certificate` are written."""

    certificate_key: str = ""
    without_certificate: "Configuration | None" = None
    own: Mapping[str, object] = field(default_factory=dict)
    """Facts for the kind's own `remote.py`; see docs/add-a-tier.md."""


@dataclass(frozen=True)
class Option:
    """One option of a kind, with what it may be."""

    default: str
    pattern: str
    help: str

    def accepts(self, value: str) -> bool:
        return re.fullmatch(self.pattern, value) is not None


NUMBER = r"[0-9]{1,6}"
WORD = r"[a-z_][a-z0-9_]{0,62}"
"""What options may be; a pattern has to match all of the text."""


class Kind:
    """A kind of tier. Its folder has this class as `KIND = Nginx()` in `__init__.py`."""

    name: str
    title: str
    roles: tuple[str, ...]
    """Where it runs if a tier names no roles: on servers with the first of these that any has."""

    packages: tuple[str, ...]
    """Debian packages that `provision` installs; of those with `|` between them one is enough."""

    modules: tuple[str, ...] = ()
    """Of Apache: those that `provision` enables."""

    stopped: tuple[str, ...] = ()
    """Units that listen by default: disabled where `provision` has installed their package."""

    removed: tuple[str, ...] = ()
    """Files of the packages that listen by default, removed as these units are disabled."""

    commented: Mapping[str, str] = {}
    """Lines of the packages' files that listen by default: a pattern of their beginning, by path.

    `provision` turns them into comments where it has installed the package.
    """

    takes_lines: bool = True
    """Whether people may add lines of the server's own configuration."""

    is_web: bool = False
    runs_sites: bool = False
    """Whether it runs a site itself, on servers whose reload is *touch*."""

    usual_port: int = 0
    """Where a data tier listens if nothing is entered."""

    variable: str = ""
    """The site's variable that gets `url`; blank: clients need none."""

    has_secret: bool = False
    """Whether clients need a password, which is made with the tier: `facts.secret`."""

    options: Mapping[str, Option] = {}

    def first_settings(self, facts: Facts) -> tuple[tuple[str, str, str], ...]:
        """Return lines to replace once, in files that the package has just brought.

        Each is a path, in which * may stand, a pattern of the whole line, and the new line.
        """
        return ()

    def configure(self, facts: Facts) -> Configuration:
        """Return what it needs on this server."""
        raise NotImplementedError

    def allowed(self, facts: Facts) -> Mapping[str, object]:
        """Return what `own` may be asked for, however it is asked; see docs/add-a-tier.md."""
        return {}

    def url(self, facts: Facts) -> str:
        """Return the URL by which the site reaches it, with its password."""
        raise NotImplementedError

    def text(self, template: str, facts: Facts, **more: object) -> str:
        """Return one of the templates in the kind's folder, filled in."""
        source = files(type(self).__module__).joinpath(template).read_text()
        # Not escaped for HTML: each value has been checked to be a word of its own.
        context = Context({"facts": facts, **facts.__dict__, **more}, autoescape=False)
        return _ENGINE.from_string(source).render(context)


_ENGINE = Engine()


@cache
def kinds() -> Mapping[str, Kind]:
    """Return all kinds by name: ours, then those of installed apps.

    Raises ConfigurationError for two of one name, and for a folder without a kind.
    """
    found: dict[str, Kind] = {}
    packages = ["deploy_manager.tiers"]
    for app in apps.get_app_configs():
        if app.name != "deploy_manager" and module_has_submodule(app.module, "tiers"):
            packages.append(f"{app.name}.tiers")
    for package in packages:
        for module in pkgutil.iter_modules(import_module(package).__path__):
            if not module.ispkg:
                continue
            kind = getattr(import_module(f"{package}.{module.name}"), "KIND", None)
            if not isinstance(kind, Kind):
                raise ConfigurationError(
                    _("%(module)s has no KIND: copy one of the folders in deploy_manager/tiers."),
                    module=f"{package}.{module.name}",
                )
            if kind.name in found:
                raise ConfigurationError(
                    _("%(module)s: another tier is called %(name)s already."),
                    module=f"{package}.{module.name}",
                    name=repr(kind.name),
                )
            found[kind.name] = kind
    return found


def get_kind(name: str) -> Kind:
    """Return a kind by its name. Raises ConfigurationError."""
    known = kinds()
    if name not in known:
        raise ConfigurationError(
            _("There is no tier %(name)s. Known: %(known)s."),
            name=repr(name),
            known=", ".join(known),
        )
    return known[name]


def complete_options(kind: Kind, given: Mapping[str, object]) -> dict[str, str]:
    """Return all options of a kind, as text. Raises ValueError for one that it does not take."""
    unknown = sorted(set(given) - set(kind.options))
    if unknown:
        raise ValueError(
            Message(
                _("%(kind)s has no option %(unknown)s. It has: %(known)s."),
                kind=kind.name,
                unknown=", ".join(unknown),
                known=", ".join(kind.options) or Message(_("none")),
            )
        )
    complete: dict[str, str] = {}
    for name, option in kind.options.items():
        value = given.get(name, option.default)
        # As people write JSON: true is a yes.
        text = ("yes" if value else "no") if isinstance(value, bool) else str(value)
        if not option.accepts(text):
            raise ValueError(
                Message(
                    _("The option %(name)s can't be %(value)s: %(help)s"),
                    name=name,
                    value=repr(text),
                    help=Message(option.help),
                )
            )
        complete[name] = text
    return complete
