"""Run a deployment that was requested."""


def run(deployment_id: int) -> None:
    """Claim a queued deployment and see it through; do nothing where somebody else has it."""
    raise NotImplementedError
