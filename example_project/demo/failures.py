"""What went wrong in a deployment, for a person who has not seen the admin yet."""

from collections.abc import Iterator

from deploy_manager.cli.text import clean
from deploy_manager.models import Environment, State, Step

LINES = 20


def describe_failures(environment: Environment) -> list[str]:
    """Return the steps that failed in the newest deployment, each with the end of its log."""
    deployment = environment.deployments.first()
    if deployment is None:
        return ["No deployment was asked for."]
    if deployment.state == State.SUCCEEDED:
        return []
    failed = Step.objects.filter(
        host_run__deployment=deployment, state__in=(State.FAILED, State.LOST)
    ).select_related("host_run")
    told = [f"{deployment}: {deployment.get_state_display()}. {deployment.message}"]
    for step in failed:
        told.append(f"\n{step.title} on {step.host_run.server_name}: {step.message}")
        told.extend(_end_of_log(step))
    return told


def _end_of_log(step: Step) -> Iterator[str]:
    chunks = step.log_chunks.order_by("sequence").values_list("data", flat=True)
    text = b"".join(map(bytes, chunks)).decode(errors="replace")
    yield from (f"  {line}" for line in clean(text).splitlines()[-LINES:])
