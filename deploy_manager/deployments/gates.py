"""Gates: what new code has to have passed before it comes to an environment.

An environment may take its code only from another one, exactly as that one serves it, and demand
that checks of a CI have succeeded for a commit. Both are asked when a deployment is planned and
requested, and again until it begins. What exists already passes: a rollback, a converge, a retry.
"""

from dataclasses import dataclass, field

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import RequestRefused
from deploy_manager.messages import Message, few
from deploy_manager.models import (
    CommitStatus,
    Deployment,
    Environment,
    Project,
    Release,
    State,
)
from deploy_manager.models.serving import serving_release
from deploy_manager.models.shapes import texts_in
from deploy_manager.recipes import Pipeline, Uses


@dataclass(frozen=True)
class Gate:
    """Whether code may come: why it never may as it was requested, or what it waits for."""

    refused: Message = field(default_factory=Message)
    waits: Message = field(default_factory=Message)

    @property
    def why(self) -> Message:
        """Why it may not come now; blank: it may."""
        return self.refused or self.waits


def takes_new_code(pipeline: Pipeline, release: Release | None, promotes: Release | None) -> bool:
    """Whether a request brings code that did not pass here before."""
    return _is_new(pipeline.uses, release, promotes)


def _is_new(uses: Uses, release: Release | None, promotes: Release | None) -> bool:
    if uses is not Uses.NEW:
        return False
    return release is None or promotes is not None or not came_before(release)


def came_before(release: Release) -> bool:
    """Whether a deployment has brought a release, or begun to: one to be promoted may never."""
    if Deployment.objects.filter(release=release, started_at__isnull=False).exists():
        return True
    # Deployments are removed after their time; what is on a server has come all the same.
    return any(release.name in each.complete for each in release.environment.placements.all())


def refuse_to_promote_by(pipeline: Pipeline) -> None:
    """Raise RequestRefused for a recipe that sends no code, so that a release would be a row only.

    What is promoted has to come through the gate, which is asked for new code.
    """
    if pipeline.uses is not Uses.NEW:
        raise RequestRefused(
            _("%(recipe)s brings no code, so it promotes none."), recipe=pipeline.name
        )


def look(environment: Environment, commit: str, promotes: Release | None = None) -> Gate:
    """Look whether a commit, or a promoted release, may come to an environment now.

    A blank commit is not known yet: its checks are asked once a worker has resolved it.
    """
    return Gate(
        refused=_why_not_in_order(environment, promotes),
        waits=_why_not_green(environment, commit) if commit else Message(),
    )


def look_again(deployment: Deployment) -> Gate:
    """Look whether what a deployment brings may come now."""
    promotes = deployment.promotes
    if deployment.breaks_glass or not _is_new(Uses(deployment.uses), deployment.release, promotes):
        return Gate()
    return look(deployment.environment, deployment.commit, promotes)


def refuse_what_did_not_pass(deployment: Deployment, commit: str) -> None:
    """Raise RequestRefused if a commit, which was resolved just now, may not come."""
    if deployment.breaks_glass:
        return
    if why := look(deployment.environment, commit, deployment.promotes).why:
        raise RequestRefused(why)


def _why_not_in_order(environment: Environment, promotes: Release | None) -> Message:
    source = environment.promotes_from
    if promotes is None:
        if source is None:
            return Message()
        words = {"site": environment, "source": source}
        return Message(
            _("%(site)s takes its code from %(source)s only: promote what that serves."),
            "not_promoted",
            **words,
        )
    if source is not None and promotes.environment_id != source.pk:
        return Message(
            _("%(site)s takes its code from %(source)s, not from %(other)s."),
            "not_promoted",
            site=environment,
            source=source,
            other=promotes.environment,
        )
    return _why_not_served(promotes)


def _why_not_served(promotes: Release) -> Message:
    """Return why a release is not what its environment serves; blank: it is."""
    source = promotes.environment
    serving = serving_release(source)
    if serving is None or serving.pk != promotes.pk:
        return Message(
            _(
                "%(source)s serves %(now)s by now, not %(then)s: look at what would change, and"
                " promote again."
            ),
            "promotion_changed",
            source=source,
            now=serving.name if serving else Message(_("nothing")),
            then=promotes.name,
        )
    if elsewhere := servers_unlike(promotes):
        return Message(
            _(
                "%(source)s does not serve %(release)s on all of its servers, but not on"
                " %(servers)s: deploy it there first."
            ),
            "promotion_changed",
            source=source,
            release=promotes.name,
            servers=few(elsewhere),
        )
    if promotes.bad_since:
        return Message(
            _("%(release)s is marked as bad on %(source)s: %(reason)s"),
            "promotion_changed",
            source=source,
            release=promotes.name,
            reason=promotes.bad_reason or Message(_("no reason was given.")),
        )
    return Message()


def servers_unlike(release: Release) -> list[str]:
    """Return the servers of a release's environment that have code, but another release."""
    placements = release.environment.placements.select_related("server")
    return [
        each.server.name
        for each in placements
        if each.has_code and each.active_release_id != release.pk
    ]


def _why_not_green(environment: Environment, commit: str) -> Message:
    """Return which of the demanded checks did not succeed for a commit; blank: all have."""
    checks = statuses_of(environment, commit)
    failed = [name for name, state in checks if state == CommitStatus.Outcome.FAILURE]
    missing = [name for name, state in checks if not state]
    pending = [name for name, state in checks if state == CommitStatus.Outcome.PENDING]
    lines = [
        Message(text, "not_green", checks=few(names), commit=commit[:8], site=environment)
        for text, names in (
            (_("%(site)s wants green checks, and commit %(commit)s failed: %(checks)s."), failed),
            (_("%(site)s waits for checks of commit %(commit)s: %(checks)s."), pending),
            (
                _("%(site)s waits for checks that nobody has reported of %(commit)s: %(checks)s."),
                missing,
            ),
        )
        if names
    ]
    return Message.lines(*lines) if lines else Message()


def statuses_of(environment: Environment, commit: str) -> list[tuple[str, str]]:
    """Return the demanded checks with what is known of each for a commit; blank: nothing."""
    wanted = texts_in(environment.required_statuses)
    if not wanted:
        return []
    reported = CommitStatus.objects.filter(project=environment.project_id, commit=commit)
    known = dict(reported.filter(context__in=wanted).values_list("context", "state"))
    return [(each, known.get(each, "")) for each in wanted]


def waiting_for_checks(project: Project, commit: str) -> list[Environment]:
    """Return the environments of a project on which something waits that brings a commit."""
    waiting = Deployment.objects.filter(
        environment__project=project, state=State.WAITING, commit=commit
    )
    found = Environment.objects.filter(pk__in=waiting.values("environment"))
    return list(found.select_related("project"))
