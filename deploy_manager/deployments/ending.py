"""The end of a deployment, and what is written in the same transaction: the pins that it brought.

One that may have switched servers is always ended here: a worker that died between the two
would leave a list of pins that do not serve.
"""

from deploy_manager.auditing import CANCELLED, record
from deploy_manager.deployments.confirming import confirming_own_edits
from deploy_manager.messages import Message
from deploy_manager.models import Deployment, Shard, State
from deploy_manager.models.transactions import brief_transaction
from deploy_manager.packages.pins import note_pins


def finish(deployment: Deployment, state: State, message: Message | str = "") -> bool:
    """End a deployment; False if it had ended before. See Deployment.end."""
    with brief_transaction():
        won = deployment.end(state, message)
        if won:
            _note_pins(deployment)
    return won


def finish_held(held: Shard, state: State, message: Message) -> bool:
    """End the deployment of a shard; False if that is not ours any more."""
    with brief_transaction():
        won = held.finish(state, message)
        if won:
            _note_pins(held.deployment)
    return won


def cancel(deployment: Deployment, by: str) -> bool:
    """Cancel a deployment; False if there was nothing to cancel. See Deployment.request_cancel."""
    with brief_transaction():
        asked = deployment.request_cancel(by)
        # The row was read again: it is over already if no worker was at work on it.
        if asked and not deployment.is_live:
            _note_pins(deployment)
        if asked:
            record(CANCELLED, deployment, after={"by": by}, deployment=deployment)
    return asked


def _note_pins(deployment: Deployment) -> None:
    # What it brought was confirmed with it: no schedule is to pause for that.
    with confirming_own_edits(deployment.environment):
        note_pins(deployment)
