"""What would fail on the servers, and can be known before any of them is touched."""

from collections.abc import Collection, Iterable, Sequence

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import PinError
from deploy_manager.messages import Message, few
from deploy_manager.models import Deployment, Environment, Process, Step
from deploy_manager.recipes.environments import make_virtualenv
from deploy_manager.recipes.serving import reload
from deploy_manager.requirements.pins import Pin
from deploy_manager.requirements.programs import missing_programs

GUNICORN = Environment.ReloadMethod.GUNICORN
PROGRAMS: dict[str, str] = {
    Process.Kind.WSGI: "gunicorn",
    Process.Kind.ASGI: "uvicorn",
    Process.Kind.WORKER: "celery",
    Process.Kind.BEAT: "celery",
}
"""What runs a process that has no command of its own, by its kind."""


def needed_programs(environment: Environment, recipes: Collection[str]) -> dict[str, Message]:
    """Return the packages that run the site, if these recipes start them, and why."""
    if reload.__name__ not in recipes:
        return {}
    rows = list(environment.processes.all())
    is_ours = any(method == GUNICORN for method, _target in environment.reloads)
    needed = {
        PROGRAMS[row.kind]: Message(_("it runs the process %(name)s"), name=row.name)
        for row in rows
        if not row.command and row.kind in PROGRAMS and (is_ours or not row.is_web)
    }
    # Which server program a Procfile names is known to the release alone.
    if is_ours and not environment.procfile and not any(row.is_web for row in rows):
        needed["gunicorn"] = Message(_("it serves the site"))
    return needed


def without_builder(environment: Environment, pins: Iterable[Pin]) -> list[Message]:
    """Return what to do about pins that nobody can build or fetch."""
    is_shipped = environment.wheels == Environment.Wheels.SHIPPED
    if is_shipped and environment.builder_id is not None:
        return []
    # With an index, servers fetch files at URLs themselves.
    names = sorted({pin.name for pin in pins if pin.is_commit or (is_shipped and pin.url)})
    if not names:
        return []
    return [
        Message(
            _(
                "%(names)s: pinned to a commit or a file at a URL, of which only a builder makes a"
                " wheel for the servers. Have the worker send the wheels (“wheels” of the"
                " environment), and choose a builder, which needs git for a commit."
            ),
            names=few(names),
        )
    ]


def known_beforehand(
    environment: Environment, pins: Sequence[Pin], recipes: Collection[str]
) -> list[Message]:
    """Return what would fail with these pins, as far as nobody has to be asked for that."""
    missing = missing_programs(pins, needed_programs(environment, recipes))
    if make_virtualenv.__name__ not in recipes:
        return missing
    return missing + without_builder(environment, pins)


def refuse_what_would_fail(
    deployment: Deployment, digest: str, pins: Sequence[Pin]
) -> tuple[Message, ...]:
    """Return what could not be checked of a release's pins, for the log.

    `digest` is that of their lock. Raises PinError with everything that would fail on servers.
    """
    environment = deployment.environment
    steps = Step.objects.filter(host_run__deployment=deployment).order_by("recipe")
    recipes = set(steps.values_list("recipe", flat=True).distinct())
    if lines := known_beforehand(environment, pins, recipes):
        raise PinError(Message.lines(*lines))
    if make_virtualenv.__name__ not in recipes:
        return ()
    from deploy_manager.packages.suitability import refuse_unsuitable

    runs = deployment.host_runs.exclude(placement=None).order_by("pk")
    runs = runs.select_related("placement__server__gateway", "placement__environment")
    placements = [run.placement for run in runs if run.placement]
    return refuse_unsuitable(environment, digest, pins, placements)
