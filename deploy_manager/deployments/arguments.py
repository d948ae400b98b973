"""What people and programs ask for, as typed, and the options of a request that it means."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from django.utils.translation import gettext_noop as _

from deploy_manager.deployments.choices import choose_release, converge, retry
from deploy_manager.deployments.promoting import release_to_promote
from deploy_manager.deployments.request import DeploymentOptions
from deploy_manager.deployments.times import parse_moment
from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import Deployment, Environment
from deploy_manager.models.deployments import CONVERGE, ROLLBACK

if TYPE_CHECKING:
    from django.contrib.auth.models import User

MIGRATION = re.compile(r"[a-z_][a-z0-9_]*\.[0-9A-Za-z_]+", re.ASCII)


@dataclass(frozen=True)
class Arguments:
    """The arguments beside the environment and the recipe, as typed."""

    ref: str = ""
    servers: Sequence[str] = ()
    reason: str = ""
    to: str = ""
    """A release's name, or the beginning of its commit."""

    forced_migrations: Sequence[str] = ()
    words: Sequence[str] = ()
    """The words of a one-off command."""

    waits: bool = False
    at: str = ""
    breaks_glass: bool = False
    promotes: bool = False
    """Whether it brings what another environment serves."""

    source: str = ""
    """The name of that environment; blank: the one that it is promoted from."""

    user: "User | None" = None
    """Who asks, and is told of nothing that they may not see; None: a command line."""


def options_for(environment: Environment, recipe: str, arguments: Arguments) -> DeploymentOptions:
    """Return the options that the arguments mean. Raises RequestRefused."""
    for name in arguments.forced_migrations:
        if not MIGRATION.fullmatch(name):
            raise RequestRefused(
                _("%(name)r is not a migration: write one like shop.0005_prices."), name=name
            )
    options = DeploymentOptions(
        ref=arguments.ref,
        servers=arguments.servers,
        reason=arguments.reason,
        forced_migrations=arguments.forced_migrations,
        arguments=arguments.words,
        waits=arguments.waits,
        not_before=parse_moment(arguments.at, environment) if arguments.at else None,
        breaks_glass=arguments.breaks_glass,
    )
    if arguments.promotes:
        promotes = release_to_promote(environment, arguments.source, arguments.user)
        return replace(options, promotes=promotes)
    if recipe == CONVERGE:
        if not arguments.servers:
            raise RequestRefused(_("Name the servers that are to be made like the others."))
        return replace(options, release=converge(environment, arguments.servers).release)
    if recipe == ROLLBACK or arguments.to:
        return replace(
            options, release=choose_release(environment, arguments.to, arguments.servers)
        )
    return options


def options_to_retry(deployment: Deployment, arguments: Arguments) -> tuple[str, DeploymentOptions]:
    """Return the recipe and the options that run a deployment again. Raises RequestRefused."""
    recipe, options = retry(deployment, arguments.reason)
    moment = parse_moment(arguments.at, deployment.environment) if arguments.at else None
    return recipe, replace(
        options, waits=arguments.waits, not_before=moment, breaks_glass=arguments.breaks_glass
    )
