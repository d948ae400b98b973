"""The algorithms of SSH that are offered: modern ones, and older ones only where a server asks.

paramiko still offers CBC modes, 3DES, and MACs by MD5 and SHA-1, and takes what a server has: who
can change what is sent could so choose the weakest.
"""

import paramiko
from django.utils.translation import gettext_noop as _

from deploy_manager.messages import Message

_WEAK_ENDINGS = ("-cbc", "-md5", "-sha1", "-96", "-group1-sha1", "-group14-sha1", "-exchange-sha1")

WEAK = {
    kind: [name for name in known if name.endswith(_WEAK_ENDINGS)]
    for kind, known in {
        "ciphers": paramiko.Transport._preferred_ciphers,
        "macs": paramiko.Transport._preferred_macs,
        "kex": paramiko.Transport._preferred_kex,
    }.items()
}
"""What is not offered, by paramiko's own words for the kinds."""

BY_SHA_1 = {"keys": ["ssh-rsa"], "pubkeys": ["ssh-rsa"]}
"""What paramiko 4 still accepts and paramiko 5 does not know: RSA keys are proved by SHA-2."""

SWITCH = Message(
    _(
        " If it is too old for others, switch on “legacy algorithms” for this server, and update"
        " its sshd: they can be broken."
    )
)


def not_offered(legacy: bool) -> dict[str, list[str]]:
    """Return what a connection does not offer, as paramiko takes it."""
    return BY_SHA_1 if legacy else {**BY_SHA_1, **WEAK}
