"""A site behind tiers, on machines of the tests."""

import http.client
import shlex
import ssl
from dataclasses import replace
from typing import Any

from deploy_manager.exceptions import CommandFailed
from deploy_manager.recipes import get_recipe
from deploy_manager.tiers.kinds import Facts, complete_options, get_kind
from deploy_manager.tiers.listening import parse_listen
from tests.parts.machine_site import MachineSite
from tests.parts.machines import Machine
from tests.parts.served import Answer

NAME = "shop.example.org"
PORT, SECURE_PORT = 8080, 8443
PAGE_IN_MAINTENANCE = "<h1>Back at eight</h1>"


def prepare(machine: Machine, kind_name: str) -> None:
    """Do with the packages of a kind what `provision` does where it has installed them."""
    kind = get_kind(kind_name)
    lines = [f"rm -f {path}" for path in kind.removed]
    lines += [
        f"sed -i -E {shlex.quote(f's/^{pattern}/# &/')} {path}"
        for path, pattern in kind.commented.items()
    ]
    if kind.modules:
        lines.append(f"a2enmod -q {shlex.join(kind.modules)}")
    machine.run("set -e\n" + "\n".join(lines), "root")


def make_certificate(machine: Machine, folder: str, name: str = NAME, owner: str = "root") -> None:
    """Make a certificate that nobody has signed, and its key, on a machine."""
    machine.run(
        f"mkdir -p {folder} && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256"
        f" -nodes -days 2 -subj /CN={name} -addext subjectAltName=DNS:{name}"
        f" -keyout {folder}/key.pem -out {folder}/chain.pem 2>/dev/null"
        f" && chown {owner} {folder}/key.pem",
        "root",
    )


class TieredSite:
    """A small site on one machine, with tiers that a test describes; used as recipes use it."""

    def __init__(self, site: MachineSite) -> None:
        self.site = site
        self.machine = site.machine

    def tier(self, kind: str, machine: Machine | None = None, **changes: Any) -> Facts:
        """Return a tier of this kind, as the rows of an environment would describe it."""
        machine = machine or self.machine
        given = changes.pop("options", {})
        listen = changes.pop("listen", [f"http://{machine.address}:{PORT}"])
        return Facts(
            **{
                "kind": kind,
                "name": kind,
                "site": "shop/production",
                "prefix": "shop-production",
                "deploy_path": self.site.path,
                "account": machine.user,
                "address": machine.address,
                "listen": tuple(parse_listen(each, get_kind(kind).usual_port) for each in listen),
                "names": (NAME,),
                "options": complete_options(get_kind(kind), given),
                "secret": "aSecretOfTheTests",
                "backends": (self.site.site.reload.bind,),
                "clients": (self.machine.address,),
                **changes,
            }
        )

    def apply(self, *tiers: Facts) -> str:
        """Run the pipeline `tiers` with these; return what was printed. Raises CommandFailed."""
        return self.run(["test_tiers", "apply_data_tiers", "apply_web_tiers"], *tiers)

    def preview(self, *tiers: Facts) -> str:
        return self.run(["preview_tiers"], *tiers)

    def run(self, recipes: list[str], *tiers: Facts) -> str:
        begin = len(self.site.printed)
        for name in recipes:
            get_recipe(name).function(self.site.host, replace(self.site.site, tiers=tiers))
        return self.site.printed[begin:].decode()

    def refusal(self, *tiers: Facts) -> str:
        """Return why these tiers could not be applied; fails the test if they could."""
        try:
            printed = self.apply(*tiers)
        except CommandFailed as error:
            return str(error)
        raise AssertionError(f"It was applied: {printed}")

    def ask(
        self, path: str = "/", host: str = NAME, secure: bool = False, **headers: str
    ) -> Answer:
        """Return the answer of the machine's web server, whatever its status is; no redirect."""
        return ask(self.machine, path, host, secure, **headers)


def ask(
    machine: Machine, path: str = "/", host: str = NAME, secure: bool = False, **headers: str
) -> Answer:
    """Return the answer of a machine's web server, whatever its status is; follows no redirect."""
    connection = http.client.HTTPConnection(
        machine.address, SECURE_PORT if secure else PORT, timeout=20
    )
    try:
        connection.connect()
        if secure:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            connection.sock = context.wrap_socket(connection.sock, server_hostname=host)
        connection.request("GET", path, headers={"Host": host, **headers})
        got = connection.getresponse()
        return Answer(got.status, got.read().decode(errors="replace").strip(), dict(got.headers))
    finally:
        connection.close()
