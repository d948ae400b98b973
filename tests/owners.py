"""Owners for what acts automatically in a test: somebody who may do everything."""

from typing import TypeVar

from django.contrib.auth.models import Permission, User

from deploy_manager.deployments.owners import take_over
from deploy_manager.models import Schedule, UpgradePolicy

Actor = TypeVar("Actor", Schedule, UpgradePolicy)


def owner() -> User:
    """Somebody with every right."""
    return User.objects.get_or_create(
        username="owner", defaults={"is_superuser": True, "is_staff": True}
    )[0]


def owned(actor: Actor, by: User | None = None) -> Actor:
    """Give a schedule or a policy an owner, who confirms it as it is now."""
    take_over(actor, by or owner())
    return actor


def person(name: str, *rights: str, **fields: object) -> User:
    """Somebody with some rights on all environments, by the names of permissions."""
    made = User.objects.create_user(name, is_staff=True, **fields)  # type: ignore[arg-type]
    made.user_permissions.set(Permission.objects.filter(codename__in=rights))
    return made
