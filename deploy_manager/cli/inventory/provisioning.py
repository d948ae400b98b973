"""A server that was added, on a command line: its host key, its needs, its way to serving."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

from deploy_manager.cli.exits import refuse
from deploy_manager.cli.packages.pins import agrees
from deploy_manager.cli.text import clean, shorten
from deploy_manager.cli.views.base import Report, View
from deploy_manager.credentials import Known, key_login
from deploy_manager.deployments.machine_needs import machine_of
from deploy_manager.deployments.orders import site_of
from deploy_manager.exceptions import HostUnreachable
from deploy_manager.hosts.identity import public_key
from deploy_manager.inventory.host_keys import fetch_host_keys, pin, server_facts
from deploy_manager.models import Placement, Server
from deploy_manager.recipes.machine import Machine, describe


def machine_for(placement: Placement) -> Machine:
    """Return what a server has to have. Raises DeployManagerError.

    The key is unknown where this process has none, as on a machine that only requests.
    """
    try:
        known = Known.of(placement.server, placement.environment)
        key = public_key(key_login(known, placement.server, placement.environment))
    except HostUnreachable:
        key = ""
    return machine_of(placement, site_of(placement), key)


@dataclass(frozen=True)
class NeedsReport(Report):
    """What each server has to have, for those who prepare it by other means."""

    placements: Sequence[Placement]

    def print_on(self, view: View) -> None:
        for placement in self.placements:
            view.print(Text(f"{placement.server}, for {placement.environment}", "bold"))
            for label, text in describe(machine_for(placement)):
                first, *others = text.splitlines()
                view.print(Text.assemble((f"  {label:<8} ", "dim"), first))
                for line in others:
                    view.print(Text(f"  {line}"))

    def write_on(self, view: View) -> None:
        for placement in self.placements:
            machine = machine_for(placement)
            view.write(
                "server",
                server=placement.server.name,
                environment=str(placement.environment),
                account=machine.account,
                key=machine.key,
                folder=machine.deploy_path,
                linger=machine.wants_linger,
                python=machine.python,
                packages=[
                    {"names": list(each.names), "why": each.why} for each in machine.all_packages
                ],
                files=[
                    {"path": each.path, "mode": f"{each.mode:o}", "text": each.text}
                    for each in machine.needs.files
                ],
                sudoers_path=machine.sudoers_path if machine.sudoers else "",
                sudoers=machine.sudoers,
                remarks=[each for each in (machine.makes_root, *machine.notes) if each],
            )
        view.write("summary", state="succeeded", servers=len(self.placements))


def pin_host_keys(servers: Sequence[Server], view: View) -> None:
    """Show the keys of servers that have none pinned, all at once, and pin them if that is agreed.

    Raises CommandError (exit code 2) if a server can't be asked, or nobody is there to compare.
    """
    unknown = [server for server in servers if not server.is_local and not server.host_key]
    if not unknown:
        return
    found = fetch_host_keys(unknown)
    for seen in found:
        if seen.key is None:
            refuse(seen.problem)
        view.say(f"{seen.server} presents the host key {seen.key.fingerprint}.")
    names = clean(shorten([server.name for server in unknown]))
    view.remark("Compare with what the provider shows, or ssh-keygen -lf on the server's console.")
    if not agrees(f"Pin these keys of {names}? [y/N] ", view):
        refuse(f"No host key is pinned for {names}: nothing was done.")
    for seen in found:
        # Conditional, as somebody may have pinned another meanwhile.
        if seen.key is None or not pin(server_facts(seen.server), seen.key.line):
            refuse(f"{seen.server} was changed meanwhile: look at it, and try again.")
