"""The errors of a deployment, printed for people who do not know the admin yet."""

from deploy_manager.cli.text import clean
from deploy_manager.models import Environment, State, Step

LINES = 20
"""Of each log."""


def describe_failures(environment: Environment) -> list[str]:
    """Return the steps that failed in the newest deployment, each with the end of its log."""
    deployment = environment.deployments.first()
    if deployment is None:
        return ["No deployment was requested."]
    if deployment.state == State.SUCCEEDED:
        return []
    failed = Step.objects.filter(
        host_run__deployment=deployment, state__in=(State.FAILED, State.LOST)
    ).select_related("host_run")
    lines = [clean(f"{deployment}: {deployment.get_state_display()}. {deployment.message}")]
    for step in failed:
        lines.append(f"\n{step.title} on {step.host_run.server_name}:")
        lines.extend(f"  {line}" for line in clean(str(step.message)).splitlines())
        chunks = step.log_chunks.order_by("sequence").values_list("data", flat=True)
        log = b"".join(map(bytes, chunks)).decode(errors="replace")
        lines.extend(f"  {line}" for line in clean(log).splitlines()[-LINES:])
    return lines
