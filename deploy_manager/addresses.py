"""Addresses: how a server is reached and logged in to, from its row."""

from django.utils.translation import gettext_noop as _

from deploy_manager.conf import get_settings
from deploy_manager.credentials import Known, key_login
from deploy_manager.exceptions import ConfigurationError
from deploy_manager.hosts.address import Address
from deploy_manager.logins import KeyLogin
from deploy_manager.models import Environment, Server
from deploy_manager.row_checks import check_row


def address_of(
    server: Server,
    behind: tuple[Server, ...] = (),
    *,
    as_bootstrap: bool = False,
    environment: Environment | None = None,
    known: Known | None = None,
) -> Address:
    """Return a server's address, with those of the gateways before it.

    With `as_bootstrap` it is that of the account that provisions the server. `behind` are the
    servers that are reached through it; `environment` is the site that it is reached for, if any;
    `known` are the credentials, if they were read already. Raises InvalidRow, and
    ConfigurationError if the gateways form a circle.
    """
    if server in behind:
        raise ConfigurationError(
            _("The gateways of %(behind)s lead back to %(server)s."),
            behind=behind[0],
            server=server,
        )
    check_row(server)
    if known is None:
        # With a gateway all of them: one that is only for the gateway counts, too.
        known = Known.load() if server.gateway_id else Known.of(server, environment)
    gateway = None
    if server.gateway:
        gateway = address_of(
            server.gateway, (*behind, server), environment=environment, known=known
        )
    return Address(
        name=server.name,
        local=server.is_local,
        hostname=server.address,
        port=server.port,
        user=server.bootstrap_user if as_bootstrap else server.user,
        host_key=server.host_key,
        is_bootstrap=as_bootstrap,
        login=None if server.is_local else _login(known, server, environment, as_bootstrap),
        legacy_algorithms=server.legacy_algorithms,
        gateway=gateway,
    )


def _login(
    known: Known, server: Server, environment: Environment | None, as_bootstrap: bool
) -> KeyLogin | None:
    if not as_bootstrap:
        return key_login(known, server, environment)
    found = key_login(known, server, environment, as_bootstrap=True)
    if found is None and get_settings().BOOTSTRAP_KEY_FILE is None:
        return key_login(known, server, environment)
    return found
