"""The algorithms of SSH that are offered: modern ones, and older ones only where a server asks.

paramiko still offers CBC modes, 3DES, and MACs by MD5 and SHA-1, and takes what a server has: who
can change what is sent could so choose the weakest.
"""

from django.utils.translation import gettext_noop as _

from deploy_manager.messages import Message

WEAK = {
    "ciphers": ["aes128-cbc", "aes192-cbc", "aes256-cbc", "3des-cbc", "blowfish-cbc"],
    "macs": ["hmac-sha1", "hmac-md5", "hmac-sha1-96", "hmac-md5-96"],
    "kex": [
        "diffie-hellman-group-exchange-sha1",
        "diffie-hellman-group14-sha1",
        "diffie-hellman-group1-sha1",
    ],
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
