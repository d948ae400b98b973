"""A node of Puppet: its name is that of its certificate, the rest is in its facts."""

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import InventoryError
from deploy_manager.inventories.found import FoundServer
from deploy_manager.inventories.values import first_of, mapping_of, name_of, texts_of

ROLE = "role"
"""The fact that many sites tell a node's role by; the extension of a certificate is `pp_role`."""


def server_of_facts(
    certname: object, facts: Mapping[str, Any], trusted: Mapping[str, Any] | None = None
) -> FoundServer:
    """Return a node as a server. Raises InventoryError if it can't be reached by what is known."""
    networking = mapping_of(facts.get("networking"))
    address = first_of(
        *(networking.get("ip"), facts.get("ipaddress")),
        *(networking.get("fqdn"), facts.get("fqdn")),
        *(networking.get("hostname"), facts.get("hostname")),
    )
    name = name_of(certname)
    if not address:
        raise InventoryError(
            _("It has none of the facts networking, ipaddress, fqdn, hostname: ask for them, too.")
        )
    roles = (*texts_of(facts.get(ROLE)), *texts_of((trusted or {}).get("pp_role")))
    return FoundServer(name=name, address=address, groups=tuple(dict.fromkeys(roles)))
