"""Inventories of other tools with many servers: what the tools write, not what we would."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """A server that every format can express."""

    name: str
    address: str
    group: str


def machines(count: int, network: int = 0) -> list[Machine]:
    """Half of them web servers; `network` moves all of them to other addresses."""
    return [
        Machine(
            f"{'web' if number % 2 else 'db'}{number:04}",
            f"10.{network}.{number // 250}.{number % 250 + 1}",
            "web" if number % 2 else "dbservers",
        )
        for number in range(1, count + 1)
    ]


def ansible_ini(found: Sequence[Machine]) -> str:
    """Groups with children and variables; hosts by ranges, addresses by lines of their own."""
    web = [each for each in found if each.group == "web"]
    first, last = web[0].name[3:], web[-1].name[3:]
    addresses = "\n".join(f"{each.name} ansible_host={each.address}" for each in found)
    others = "\n".join(each.name for each in found if each.group != "web")
    return f"""# all machines
{addresses}

[web]
web[{first}:{last}:2]

[dbservers]
{others}

[site:children]
web
dbservers

[site:vars]
ansible_user=deploy
ansible_port=2222
"""


def ansible_yaml(found: Sequence[Machine]) -> str:
    lines = ["---", "all:", "  vars:", "    ansible_user: deploy", "    ansible_port: 2222"]
    lines.append("  children:")
    for group in ("web", "dbservers"):
        lines += [f"    {group}:", "      hosts:"]
        for each in found:
            if each.group == group:
                lines += [f"        {each.name}:", f"          ansible_host: {each.address}"]
    return "\n".join(lines) + "\n"


def puppetdb_facts(found: Sequence[Machine]) -> str:
    return json.dumps(
        [
            {"certname": each.name, "environment": "production", "name": name, "value": value}
            for each in found
            for name, value in (
                ("networking", {"ip": each.address, "fqdn": f"{each.name}.example.org"}),
                ("role", each.group),
                ("kernel", "Linux"),
            )
        ]
    )


def puppetdb_inventory(found: Sequence[Machine]) -> str:
    return json.dumps(
        [
            {
                "certname": each.name,
                "timestamp": "2026-11-30T05:00:00Z",
                "environment": "production",
                "facts": {"networking": {"ip": each.address}, "role": each.group},
                "trusted": {"certname": each.name, "extensions": {}},
            }
            for each in found
        ]
    )


def chef(found: Sequence[Machine]) -> str:
    """One document after another, as a loop over `knife node list` prints them."""
    return "\n".join(
        json.dumps(
            {
                "name": each.name,
                "chef_environment": "_default",
                "run_list": [f"role[{each.group}]", "recipe[apt]"],
                "normal": {},
                "automatic": {
                    "fqdn": f"{each.name}.example.org",
                    "ipaddress": each.address,
                    "roles": [each.group],
                },
            },
            indent=2,
        )
        for each in found
    )


def ssh_config(found: Sequence[Machine]) -> str:
    blocks = [f"Host {each.name}\n  HostName {each.address}\n" for each in found]
    return "\n".join([*blocks, "Host *\n  User deploy\n  Port 2222\n"])


def csv_table(found: Sequence[Machine]) -> str:
    lines = [f"{each.name};{each.address};2222;deploy;{each.group}" for each in found]
    return "\n".join(["Server;IP address;Port;User;Roles", *lines]) + "\n"


MAKERS: dict[str, Callable[[Sequence[Machine]], str]] = {
    "ansible-ini": ansible_ini,
    "ansible-yaml": ansible_yaml,
    "puppetdb-facts": puppetdb_facts,
    "puppetdb-inventory": puppetdb_inventory,
    "chef": chef,
    "ssh_config": ssh_config,
    "csv": csv_table,
}
"""Makers of files, by the name of the format."""
