"""The commands, each with its arguments: what they send, and what they print."""

from deploy_manager.client.commands import (
    accounts,
    decisions,
    deployments,
    environments,
    packages,
    requests,
    statuses,
    upgrades,
)

COMMANDS = (
    *accounts.COMMANDS,
    *environments.COMMANDS,
    *requests.COMMANDS,
    *deployments.COMMANDS,
    *decisions.COMMANDS,
    *packages.COMMANDS,
    *upgrades.COMMANDS,
    *statuses.COMMANDS,
)
