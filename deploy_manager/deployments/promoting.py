"""Promotion: an environment gets exactly what another one serves, commit and lock file."""

from typing import TYPE_CHECKING

from django.utils.translation import gettext_noop as _

from deploy_manager.deployments.gates import look
from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import Deployment, Environment, Release
from deploy_manager.models.rights import Right, may
from deploy_manager.models.serving import serving_release

if TYPE_CHECKING:
    from django.contrib.auth.models import User


def source_of(environment: Environment, name: str = "", user: "User | None" = None) -> Environment:
    """Return the environment that another one gets its code from: its own, or the named one.

    Raises RequestRefused if there is none, or it is of another project; or if `user` may not see
    it, unless code comes from there as a rule. No user means a command line, which is trusted.
    """
    source = environment.promotes_from
    if name:
        project, _slash, short = name.rpartition("/")
        others = Environment.objects.filter(project=environment.project_id, name=short)
        if project:
            others = others.filter(project__name=project)
        found = others.exclude(pk=environment.pk).select_related("project").first()
        if found is None or not _may_take_from(found, environment, user):
            raise RequestRefused(
                _("%(project)s has no other environment %(name)s to promote from."),
                project=environment.project.name,
                name=name,
            )
        return found
    if source is None:
        raise RequestRefused(
            _(
                "It is not said what %(site)s is promoted from: choose that on its page, or name"
                " an environment (--from)."
            ),
            site=environment,
        )
    return source


def _may_take_from(source: Environment, environment: Environment, user: "User | None") -> bool:
    is_usual = source.pk == environment.promotes_from_id
    return user is None or is_usual or may(user, Right.VIEW, source)


def release_to_promote(
    environment: Environment, source: str = "", user: "User | None" = None
) -> Release:
    """Return the release that comes to an environment if it is promoted now.

    Raises RequestRefused if none may: nothing serves, a deployment is under way there, servers
    differ, or it is not where this environment's code comes from.
    """
    origin = source_of(environment, source, user)
    if busy := Deployment.objects.busy().filter(environment=origin).first():
        raise RequestRefused(busy.describe_as_busy())
    serving = serving_release(origin)
    if serving is None:
        raise RequestRefused(
            _("%(source)s serves nothing yet that could be promoted."), source=origin
        )
    release = Release.objects.select_related("environment__project", "lock", "repository_lock").get(
        pk=serving.pk
    )
    if why := look(environment, "", release).refused:
        raise RequestRefused(why)
    return release


def write_promoted(environment: Environment, release: Release) -> Release:
    """Write the environment's own release of what another one serves."""
    return Release.objects.make(
        environment,
        release.commit,
        release.subject,
        release.lock,
        release.repository_lock,
        build=release.build,
    )
