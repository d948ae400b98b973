"""What a server has to have for an environment, from its rows."""

from collections.abc import Iterator

from deploy_manager.models import Environment, Placement
from deploy_manager.packages.pins import checked_pins_of, pins_in
from deploy_manager.recipes import Site
from deploy_manager.recipes.machine import Machine, Package, needs_of_tiers
from deploy_manager.recipes.sudoers import makes_root, sudoers_path, sudoers_text
from deploy_manager.requirements.system_libraries import libraries_of

NO_PINS = (
    "Nothing is pinned yet, so it is unknown which libraries of the system the site loads: once it"
    " was deployed, or its requirements are listed, provision the server again."
)


def machine_of(placement: Placement, site: Site, key: str) -> Machine:
    """Return what a server has to have for a site; `key` is the public one to let in.

    Raises PinError for rows that are no pins, RecipeError for an account that sudoers can't name.
    """
    environment, account = placement.environment, placement.server.user
    needs = needs_of_tiers(site)
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
        makes_root=makes_root(site, account),
        needs=needs,
        notes=() if pinned else (NO_PINS,),
    )


def pinned_packages(environment: Environment) -> frozenset[str]:
    """Return the packages of the newest release, else those that are listed. Raises PinError."""
    newest = environment.releases.select_related("lock").first()
    pins = pins_in(newest.lock.text) if newest else ()
    return frozenset(pin.name for pin in pins or checked_pins_of(environment))


def _packages(environment: Environment, pinned: frozenset[str]) -> Iterator[Package]:
    for names, package in libraries_of(pinned):
        yield Package(names, f"{package} needs it")
    if environment.compile_messages:
        yield Package(("gettext",), "translations are compiled by it")
