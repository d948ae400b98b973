"""The servers, as pyinfra reads them."""

import os

OPTIONS = {"ssh_config_file": os.environ["SSH_CONFIG"], "ssh_strict_host_key_checking": "yes"}
servers = [
    (name, {**OPTIONS, "home": home})
    for name, home in zip(os.environ["SERVERS"].split(), os.environ["HOMES"].split(), strict=True)
]
