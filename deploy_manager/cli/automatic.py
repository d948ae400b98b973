"""Owners of schedules and policies on a command line: shown, named, and what they confirm."""

from typing import TYPE_CHECKING

from django.contrib.auth import get_user_model

from deploy_manager.cli.exits import refusals, refuse
from deploy_manager.cli.text import clean
from deploy_manager.cli.views.base import View
from deploy_manager.deployments.owners import confirm_by, take_over
from deploy_manager.models import Schedule, UpgradePolicy

if TYPE_CHECKING:
    from django.contrib.auth.models import User


def find_owner(name: str) -> "User":
    """Return the user of this name. Raises CommandError."""
    model = get_user_model()
    user = model._default_manager.filter(**{model.USERNAME_FIELD: name}).first()
    if user is None:
        refuse(f"There is no user {clean(name)!r}.")
    return user


def own(actor: Schedule | UpgradePolicy, view: View, *, owner: str = "") -> None:
    """Make a user the owner of an actor, or confirm it for the owner that it has.

    Raises CommandError if that user may not do what it does.
    """
    with refusals():
        if owner:
            take_over(actor, find_owner(owner))
        elif actor.owner is None:
            refuse(f"{clean(str(actor))} has no owner: name one by --owner USERNAME.")
        else:
            confirm_by(actor, actor.owner)
    view.write("owned", name=str(actor), owner=actor.owner_name, paused=actor.paused)
    view.remark(str(actor.paused) or f"{actor} acts in the name of {actor.owner_name}.")
