"""Servers for other tools: as JSON, CSV, ssh_config, or an inventory of Ansible.

What is exported says where servers are and what runs there. It has no secret, no variable of a
site and no host key.
"""

import csv
import io
import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from deploy_manager.models import Environment, Placement, Server
from deploy_manager.models.shapes import texts_in

COLUMNS = ("name", "connection", "address", "port", "user", "gateway", "groups")
_NOT_IN_A_GROUP = re.compile(r"[^A-Za-z0-9_]")
# ssh takes *, !, quotes and % for more than they are, and Ansible evaluates what is in braces, on
# the machine that runs it.
_IN_NO_VALUE = re.compile(r"[^A-Za-z0-9_.+@~:/-]|^-")
"""What no form accepts in any of the values that are exported."""

Rows = Sequence[Server]


def servers_to_export(environment: Environment | None = None) -> list[Server]:
    """Return the servers, those of one environment if it is given, with all that is exported."""
    found = Server.objects.select_related("gateway")
    if environment is not None:
        # With the gateways that lead to them: without those, the others could not be imported.
        keys = set(environment.placements.values_list("server", flat=True))
        gateways = dict(Server.objects.values_list("pk", "gateway"))
        waiting = list(keys)
        while waiting:
            gateway = gateways.get(waiting.pop())
            if gateway is not None and gateway not in keys:
                keys.add(gateway)
                waiting.append(gateway)
        found = found.filter(pk__in=keys)
    placements = Placement.objects.select_related("environment__project")
    if environment is not None:
        placements = placements.filter(environment=environment)
    by_server: dict[int, list[Placement]] = {}
    for placement in placements.order_by("order", "server__name"):
        by_server.setdefault(placement.server_id, []).append(placement)
    servers = list(found)
    for server in servers:
        server.exported = by_server.get(server.pk, [])  # type: ignore[attr-defined]
    # In the order of deployment, so that an import continues in it.
    return sorted(servers, key=lambda each: (_order(each), each.name))


def _order(server: Server) -> int:
    return min((each.order for each in _placements(server)), default=0)


def _placements(server: Server) -> list[Placement]:
    found: list[Placement] = getattr(server, "exported", [])
    return found


def group_name(*words: str) -> str:
    """Return a name that Ansible takes for a group: letters, digits and _ only."""
    name = _NOT_IN_A_GROUP.sub("_", "_".join(words))
    return name if name[:1].isalpha() or name[:1] == "_" else f"_{name}"


def groups_of(server: Server) -> dict[str, None]:
    """Return the groups of a server: environments, roles, and roles in environments."""
    found: dict[str, None] = {}
    for placement in _placements(server):
        site = placement.environment
        of_site = group_name(site.project.name, site.name)
        found[of_site] = None
        for role in texts_in(placement.roles):
            found[group_name(role)] = None
            found[group_name(role, "in", of_site)] = None
    return found


def hops_of(server: Server) -> list[Server]:
    """Return the gateways to a server, the nearest first; a circle ends where it closes."""
    way: list[Server] = []
    hop = server.gateway
    while hop is not None and hop not in way:
        way.insert(0, hop)
        hop = hop.gateway
    return [each for each in way if not each.is_local]


def inert(text: str) -> str:
    """Return a value for another tool; in what no form accepts, signs are replaced.

    The sign for that is in no sound name, so that no row takes the place of another.
    """
    return _IN_NO_VALUE.sub("\N{REPLACEMENT CHARACTER}", text)


def _as_hop(server: Server) -> str:
    address = inert(server.address)
    return f"{inert(server.user)}@{f'[{address}]' if ':' in address else address}:{server.port}"


def host_variables(server: Server) -> dict[str, Any]:
    """Return what Ansible is told of a server."""
    if server.is_local:
        variables: dict[str, Any] = {"ansible_connection": "local"}
    else:
        variables = {
            "ansible_connection": "ssh",
            "ansible_host": inert(server.address),
            "ansible_port": server.port,
            "ansible_user": inert(server.user),
        }
    if not server.is_local and (way := hops_of(server)):
        jump = ",".join(map(_as_hop, way))
        variables["ansible_ssh_common_args"] = shlex.join(["-o", f"ProxyJump={jump}"])
    sites = [
        {
            "environment": inert(str(placement.environment)),
            "deploy_path": inert(placement.deploy_path),
            "python": inert(placement.environment.python),
            "roles": [inert(role) for role in texts_in(placement.roles)],
        }
        for placement in _placements(server)
    ]
    if sites:
        # Those of its first site by themselves: most servers have one.
        first = sites[0]
        variables |= {
            "deploy_path": first["deploy_path"],
            "deploy_python": first["python"],
            "deploy_roles": first["roles"],
            "deploy_sites": sites,
        }
    return variables


def as_ansible_list(servers: Rows) -> dict[str, Any]:
    """Return what a dynamic inventory prints for --list."""
    groups: dict[str, list[str]] = {}
    for server in servers:
        for group in groups_of(server) or {"ungrouped": None}:
            groups.setdefault(group, []).append(inert(server.name))
    variables = {inert(server.name): host_variables(server) for server in servers}
    return {
        "_meta": {"hostvars": variables},
        "all": {"children": list(groups)},
        **{name: {"hosts": hosts} for name, hosts in groups.items()},
    }


def _export_ansible(servers: Rows) -> str:
    """Return a static inventory: YAML, in the part of it that is JSON."""
    groups: dict[str, Any] = {}
    for server in servers:
        for group in groups_of(server):
            groups.setdefault(group, {"hosts": {}})["hosts"][inert(server.name)] = {}
    hosts = {inert(server.name): host_variables(server) for server in servers}
    return _json({"all": {"hosts": hosts, "children": groups}})


def _export_json(servers: Rows) -> str:
    return _json({"servers": [_facts(server) for server in servers]})


def _facts(server: Server) -> dict[str, Any]:
    sites = host_variables(server).get("deploy_sites", [])
    return {
        **{name: getattr(server, name) for name in COLUMNS[:5]},
        "gateway": server.gateway.name if server.gateway else "",
        "sites": sites,
    }


def _export_csv(servers: Rows) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for server in servers:
        gateway = server.gateway.name if server.gateway else ""
        own = [getattr(server, name) for name in COLUMNS[:5]]
        writer.writerow([_as_cell(each) for each in (*own, gateway, " ".join(groups_of(server)))])
    return out.getvalue()


def _as_cell(value: object) -> str:
    """Return a text that no spreadsheet takes for a formula, whoever wrote the row."""
    text = str(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _export_ssh_config(servers: Rows) -> str:
    blocks = ["\n".join(_ssh_block(each)) for each in servers if not each.is_local]
    return "\n\n".join(blocks) + "\n"


def _ssh_block(server: Server) -> Iterator[str]:
    yield f"Host {_word(server.name)}"
    yield f"    HostName {_word(server.address)}"
    yield f"    Port {server.port}"
    yield f"    User {_word(server.user)}"
    # By name: the gateway has a block of its own.
    is_over = server.gateway is not None and not server.gateway.is_local
    yield f"    ProxyJump {_word(server.gateway.name) if server.gateway and is_over else 'none'}"


def _word(text: str) -> str:
    """Return a word of ssh_config, where nothing may be missing."""
    return inert(text) or "-"


def _json(value: object) -> str:
    return json.dumps(value, indent=2) + "\n"


EXPORTS: dict[str, Callable[[Rows], str]] = {
    "json": _export_json,
    "ansible": _export_ansible,
    "csv": _export_csv,
    "ssh_config": _export_ssh_config,
}
"""How servers are exported, by the name of the format."""


def export(servers: Iterable[Server], form: str) -> str:
    """Return servers as a file of one of the formats in EXPORTS."""
    return EXPORTS[form](list(servers))
