"""What a server has to have for an environment, from its rows."""

import json
from collections.abc import Iterator, Sequence

from deploy_manager.deployments.contents import find_contents
from deploy_manager.deployments.site_tiers import tiers_on
from deploy_manager.exceptions import CodeError, PinError
from deploy_manager.models import Environment, Placement
from deploy_manager.packages.pins import checked_pins_of, pins_in
from deploy_manager.recipes import Site
from deploy_manager.recipes.machine import Machine, MachineFile, MachineNeeds, Package
from deploy_manager.recipes.sudoers import makes_root, sudoers_path, sudoers_text
from deploy_manager.recipes.tiers import RULES, allowed_by, command_of, installed_program
from deploy_manager.requirements.system_libraries import libraries_of
from deploy_manager.tiers.kinds import Facts, Kind, get_kind

NO_PINS = (
    "No pins can be read yet, so it is unknown which libraries of the system the site loads: once"
    " it was deployed, or its requirements are listed, provision the server again."
)


def machine_of(placement: Placement, site: Site, key: str) -> Machine:
    """Return what a server has to have for a site; `key` is the public one to let in.

    Raises PinError for rows that are no pins, RecipeError for an account that sudoers can't name,
    InvalidRow and ConfigurationError for tiers.
    """
    environment, account = placement.environment, placement.server.user
    tiers = tiers_on(placement)
    needs = needs_of_tiers(tiers)
    pinned = pinned_packages(environment)
    return Machine(
        account=account,
        key=key,
        deploy_path=placement.deploy_path,
        python=environment.python,
        supervisor=environment.supervisor,
        at_boot=environment.at_boot,
        packages=tuple(_packages(environment, pinned)),
        sudoers_path=sudoers_path(site),
        sudoers=sudoers_text(site, account, needs.sudoers),
        makes_root=makes_root(site, account, _web_servers(tiers)),
        needs=needs,
        notes=() if pinned else (NO_PINS,),
    )


def needs_of_tiers(tiers: Sequence[Facts]) -> MachineNeeds:
    """Return what the tiers on a server need of it, and what lets the account change them."""
    if not tiers:
        return MachineNeeds()
    kinds = [get_kind(tier.kind) for tier in tiers]
    prefix = tiers[0].prefix
    rules = json.dumps(allowed_by(tiers), indent=1, sort_keys=True) + "\n"
    own = [MachineFile(path, text, is_program=True) for path, text in installed_program().items()]
    wanted = [
        Package(tuple(names.split("|")), f"for {kind.name}")
        for kind in kinds
        for names in kind.packages
    ]
    return MachineNeeds(
        packages=tuple(dict.fromkeys(wanted)),
        sudoers=(" ".join(command_of(prefix)),),
        files=(*own, MachineFile(f"{RULES}/{prefix}.json", rules)),
        disable=tuple(name for kind in kinds for name in kind.stopped),
        removed=tuple((_first(kind), path) for kind in kinds for path in kind.removed),
        commented=tuple(
            (_first(kind), path, pattern)
            for kind in kinds
            for path, pattern in kind.commented.items()
        ),
        replaced=tuple(
            (_first(kind), *setting)
            for kind, tier in zip(kinds, tiers, strict=True)
            for setting in kind.first_settings(tier)
        ),
        modules=tuple(dict.fromkeys(name for kind in kinds for name in kind.modules)),
    )


def _web_servers(tiers: Sequence[Facts]) -> tuple[str, ...]:
    names = (tier.kind for tier in tiers if get_kind(tier.kind).is_web)
    return tuple(dict.fromkeys(names))


def _first(kind: Kind) -> str:
    return kind.packages[0].partition("|")[0]


def pinned_packages(environment: Environment) -> frozenset[str]:
    """Return the packages of the newest release, else of what would be deployed now.

    None if that is not known. Raises PinError for rows that are no pins.
    """
    newest = environment.releases.select_related("lock").first()
    if newest:
        return frozenset(pin.name for pin in pins_in(newest.lock.text))
    if listed := checked_pins_of(environment):
        return frozenset(pin.name for pin in listed)
    try:
        contents = find_contents(environment, environment.ref)
    except (CodeError, PinError):
        # A server can be prepared before there is any code: the note says what is missing then.
        return frozenset()
    return frozenset(pin.name for pin in contents.pins)


def _packages(environment: Environment, pinned: frozenset[str]) -> Iterator[Package]:
    for names, package in libraries_of(pinned):
        yield Package(names, f"{package} needs it")
    if environment.compile_messages:
        yield Package(("gettext",), "translations are compiled by it")
