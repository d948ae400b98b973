"""`upgrade`, `upgrades`: packages moved across environments."""

from deploy_manager.client.commands.base import Command

COMMANDS: tuple[Command, ...] = ()
