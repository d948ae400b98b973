"""Addresses: how a server is reached, from its row."""

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import ConfigurationError
from deploy_manager.hosts.address import Address
from deploy_manager.models import Server
from deploy_manager.row_checks import check_row


def address_of(
    server: Server, behind: tuple[Server, ...] = (), *, as_bootstrap: bool = False
) -> Address:
    """Return a server's address, with those of the gateways before it.

    With `as_bootstrap` it is that of the account that provisions the server. `behind` are the
    servers that are reached through it. Raises InvalidRow, and ConfigurationError if the gateways
    form a circle.
    """
    if server in behind:
        raise ConfigurationError(
            _("The gateways of %(behind)s lead back to %(server)s."),
            behind=behind[0],
            server=server,
        )
    check_row(server)
    return Address(
        name=server.name,
        local=server.is_local,
        hostname=server.address,
        port=server.port,
        user=server.bootstrap_user if as_bootstrap else server.user,
        host_key=server.host_key,
        is_bootstrap=as_bootstrap,
        gateway=address_of(server.gateway, (*behind, server)) if server.gateway else None,
    )
