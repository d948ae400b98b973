"""Which tiers are on a server of an environment, as plain data, and what their clients are told."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from django.core.exceptions import ValidationError
from django.utils.translation import gettext_noop as _

from deploy_manager.deployments.site_processes import unit_prefix
from deploy_manager.exceptions import ConfigurationError
from deploy_manager.messages import Message
from deploy_manager.models import Environment, Placement, Tier
from deploy_manager.models.processes import serves_web
from deploy_manager.models.shapes import texts_in
from deploy_manager.row_checks import check_row
from deploy_manager.sealing import Secret
from deploy_manager.site_secrets import NO_SECRETS, SiteSecrets
from deploy_manager.tiers.kinds import Facts, complete_options, get_kind, kinds
from deploy_manager.tiers.listening import EVERYWHERE, PLACEHOLDER, Listen, parse_listen

LOOPBACK = "127.0.0.1"
THIS_SERVER = frozenset({LOOPBACK, "localhost", "[::1]"})
ALL_ADDRESSES = frozenset({"0.0.0.0", "[::]", EVERYWHERE})  # noqa: S104  # only recognised


def tiers_on(placement: Placement, secrets: SiteSecrets = NO_SECRETS) -> tuple[Facts, ...]:
    """Return the tiers of one server, with their passwords if these are given.

    Raises InvalidRow, ConfigurationError.
    """
    found = _tiers_of(placement.environment)
    return tuple(_facts(tier, placement, secrets) for tier, places in found if placement in places)


def tier_variables(environment: Environment, secrets: SiteSecrets) -> dict[str, Secret]:
    """Return the variables by which a site's processes find its tiers, with their passwords.

    Raises InvalidRow, ConfigurationError.
    """
    found: dict[str, Secret] = {}
    # Web servers have none: a mistake in the row of one stops no deployment.
    for tier, places in _tiers_of(environment, without_web=True):
        kind = get_kind(tier.kind)
        if name := tier.variable or kind.variable:
            # Of several servers the first one counts: a database has one, and a cache is no set.
            found[name] = Secret(kind.url(_facts(tier, places[0], secrets)))
    return found


def _tiers_of(
    environment: Environment, without_web: bool = False
) -> Iterator[tuple[Tier, list[Placement]]]:
    """Yield each tier with the placements that have it."""
    places = _places(environment)
    known = {role for each in places for role in texts_in(each.roles)}
    for tier in environment.tiers.all():
        if without_web and tier.kind in kinds() and kinds()[tier.kind].is_web:
            continue
        check_row(tier)
        _check(tier)
        wanted = tier.roles_among(known)
        here = [each for each in places if not set(wanted).isdisjoint(texts_in(each.roles))]
        if not here:
            raise ConfigurationError(
                _(
                    "No server of %(site)s has a role for the tier %(tier)s: give one of them the"
                    " role %(roles)s."
                ),
                site=environment,
                tier=tier,
                roles=" / ".join(wanted or get_kind(tier.kind).roles),
            )
        yield tier, here


def _check(tier: Tier) -> None:
    """Check its fields together, as its form does. Raises ConfigurationError."""
    try:
        tier.clean()
    except ValidationError as error:
        raise ConfigurationError(
            _("The tier %(tier)s of %(site)s: %(why)s"),
            tier=tier,
            site=tier.environment,
            why=" ".join(error.messages),
        ) from None


def _places(environment: Environment) -> list[Placement]:
    places = list(environment.placements.all())
    for each in places:
        each.environment = environment  # else each would read it once more
    return places


def _facts(tier: Tier, placement: Placement, secrets: SiteSecrets) -> Facts:
    environment, kind = placement.environment, get_kind(tier.kind)
    places = _places(environment)
    clients = () if kind.is_web else _clients(placement, places)
    facts = Facts(
        kind=tier.kind,
        name=str(tier),
        site=str(environment),
        prefix=unit_prefix(placement),
        deploy_path=placement.deploy_path,
        account=placement.server.user,
        address=placement.server.reached_at,
        listen=_listen(tier, placement, clients),
        names=tuple(texts_in(tier.names)),
        certificate=tier.certificate,
        certificate_key=tier.certificate_key,
        options=complete_options(kind, tier.options),
        lines=tier.lines.replace("\r\n", "\n").strip(),
        secret=_secret_of(tier, secrets),
        has_code=placement.has_code,
        processes=environment.workers,
        clients=clients,
    )
    if not kind.is_web:
        return facts
    return replace(facts, **_requests(facts, placement, places))  # type: ignore[arg-type]


def _secret_of(tier: Tier, secrets: SiteSecrets) -> str:
    """Return its password; blank if it has none. Raises ConfigurationError."""
    if get_kind(tier.kind).has_secret and tier.secret is None:
        raise ConfigurationError(
            _("The tier %(tier)s of %(site)s has no password yet: save it in the admin."),
            tier=tier,
            site=tier.environment,
        )
    return secrets.tiers[tier.pk].value if tier.pk in secrets.tiers else ""


def _listen(tier: Tier, placement: Placement, clients: Sequence[str]) -> tuple[Listen, ...]:
    kind, own = get_kind(tier.kind), placement.server.reached_at
    given = [parse_listen(text, kind.usual_port) for text in texts_in(tier.listen)]
    if not given and kind.usual_port:
        # A site with all on one server needs nothing open to others.
        is_alone = set(clients) <= {LOOPBACK}
        given = [Listen(LOOPBACK if is_alone else own, kind.usual_port)]
    return tuple(replace(each, host=own) if each.host == PLACEHOLDER else each for each in given)


def _clients(placement: Placement, places: Sequence[Placement]) -> tuple[str, ...]:
    """Return the addresses of the servers that run the site's code."""
    found = [
        LOOPBACK if each.server_id == placement.server_id else each.server.reached_at.strip("[]")
        for each in places
        if each.has_code
    ]
    return tuple(dict.fromkeys(found))


def _requests(facts: Facts, placement: Placement, places: Sequence[Placement]) -> dict[str, object]:
    """Return how a web server answers: on its own, or by others. Raises ConfigurationError."""
    known = {role for each in places for role in texts_in(each.roles)}
    serving = [each for each in places if each.has_code and serves_web(each.roles, known)]
    serves_here = placement in serving
    if serves_here and placement.reload_method == "touch" and get_kind(facts.kind).runs_sites:
        is_behind = any(
            get_kind(tier.kind).is_web and placement not in there
            for tier, there in _tiers_of(placement.environment)
        )
        return {"runs_site": True, "is_backend": is_behind}
    if serves_here and facts.options.get("balance") != "yes":
        return {"backends": (_own_backend(placement),)}
    backends = [_backend(facts, each, placement) for each in serving]
    if not backends:
        raise ConfigurationError(
            _("No server of %(site)s serves the web: %(tier)s has nothing to pass requests on to."),
            site=placement.environment,
            tier=facts.name,
        )
    return {"backends": tuple(backends)}


def _own_backend(placement: Placement) -> str:
    bind = placement.bind
    host, _colon, port = bind.rpartition(":")
    return f"{LOOPBACK}:{port}" if host in ALL_ADDRESSES else bind


def _backend(facts: Facts, each: Placement, placement: Placement) -> str:
    """Return where a server answers the requests of another one. Raises ConfigurationError."""
    if each == placement:
        return _own_backend(each)
    bind = _web_server_of(each) or each.bind
    host, _colon, port = bind.rpartition(":")
    if host in ALL_ADDRESSES:
        return f"{each.server.reached_at}:{port}"
    if (host in THIS_SERVER and each.server_id != placement.server_id) or bind.startswith("unix:"):
        raise ConfigurationError(
            _(
                "%(tier)s on %(server)s can't reach the site on %(other)s, which listens on"
                " %(bind)s: enter {address}:8000 as the address of the site's server."
            ),
            tier=facts.name,
            server=placement.server,
            other=each.server,
            bind=bind,
        )
    return bind


def _web_server_of(placement: Placement) -> str:
    """Return host:port of a web server that runs the site there, as mod_wsgi; blank: none does."""
    if placement.reload_method != "touch":
        return ""
    for tier, there in _tiers_of(placement.environment):
        if get_kind(tier.kind).runs_sites and placement in there:
            plain = [each for each in _listen(tier, placement, ()) if not each.is_secure]
            return f"{plain[0].host}:{plain[0].port}" if plain else ""
    return ""


def servers_with_tiers(environment: Environment) -> list[str]:
    """Return the names of the servers that have a tier. Raises InvalidRow, ConfigurationError."""
    names = (each.server.name for _tier, places in _tiers_of(environment) for each in places)
    return list(dict.fromkeys(names))


def describe_tiers(environment: Environment) -> list[Message]:
    """Return a line for each tier: its kind, and the servers that have it."""
    return [
        Message(
            "%(tier)s (%(kind)s): %(servers)s",
            tier=tier,
            kind=tier.kind,
            servers=", ".join(each.server.name for each in places),
        )
        for tier, places in _tiers_of(environment)
    ]
