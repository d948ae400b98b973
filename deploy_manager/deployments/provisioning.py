"""Provisioning a server: whether it may be requested, and as whom its recipes work there."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from django.utils.translation import gettext_noop as _

from deploy_manager.conf import get_settings
from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import Environment, Placement, Server
from deploy_manager.models.rights import Right, may
from deploy_manager.recipes import get_recipe

if TYPE_CHECKING:
    from django.contrib.auth.models import User

PREVIEW, PROVISION = "preview_provision", "provision"
FOLDER = ".deploy_manager"


def is_as_bootstrap(recipes: Iterable[str]) -> bool:
    """Whether these recipes are run by the bootstrap user. Raises UnknownRecipe."""
    return any(get_recipe(name).as_bootstrap for name in recipes)


def tools_of_bootstrap(environment: Environment, server: Server) -> str:
    """Return the folder of our own files in the home of a server's bootstrap user."""
    user = server.bootstrap_user
    home = "/root" if user == "root" else f"/home/{user}"
    return f"{home}/{FOLDER}/{environment.key.hex}"


def refuse_to_provision(placements: Iterable[Placement], user: "User | None" = None) -> None:
    """Raise RequestRefused if these servers are not provisioned from here, or not by this user.

    A command line has no user.
    """
    if not get_settings().PROVISION:
        raise RequestRefused(
            _(
                "Servers are not provisioned from here: PROVISION in DEPLOY_MANAGER is False, since"
                " something else does it. What it has to see to is shown by manage.py provision"
                " … --print"
            )
        )
    for server in (placement.server for placement in placements):
        if server.is_local:
            raise RequestRefused(
                _(
                    "%(server)s is the worker's own machine, which is not provisioned from here: it"
                    " is prepared by whoever set up the worker."
                ),
                server=server,
            )
        if not server.bootstrap_user:
            raise RequestRefused(
                _(
                    "%(server)s has no bootstrap user: enter root, or an account with sudo without"
                    " a password, on the server's page, or add --bootstrap-user root."
                ),
                server=server,
            )
        if user is not None and not may(user, Right.CHANGE_SERVER, server):
            raise RequestRefused(
                _("%(who)s may not provision %(server)s: that needs the right to change it."),
                who=user,
                server=server,
            )
