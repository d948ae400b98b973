"""What each web server does alike: one site before a real gunicorn, through each of them."""

from dataclasses import replace

import pytest

from deploy_manager.recipes import get_recipe
from tests.parts.machine_site import MachineSite
from tests.parts.tiers import PORT, SECURE_PORT, TieredSite, make_certificate, prepare

pytestmark = pytest.mark.machines
KINDS = ("nginx", "apache", "lighttpd", "caddy")
FOLDER = "/etc/certificates"
GZIP = {"Accept-Encoding": "gzip"}
BROKEN = {
    "nginx": ("no_such_directive on;", "unknown directive"),
    "apache": ("NoSuchDirective On", "Invalid command"),
    "lighttpd": ("no such thing", "parser failed"),
    "caddy": ("no_such_directive on", "unrecognized directive"),
}


@pytest.fixture
def site(machine_site: MachineSite) -> TieredSite:
    machine_site.deploy("r1")
    machine_site.machine.run(
        f"cd {machine_site.path} && mkdir -p static/css shared/media && chmod 755 ~"
        " && seq 1000 >static/css/a.css && echo hashed >static/css/a.0123456789ab.css"
        " && echo '<script>' >shared/media/page.html"
    )
    return TieredSite(machine_site)


@pytest.mark.parametrize("kind", KINDS)
def test_a_web_server_answers_for_a_site(site: TieredSite, kind: str) -> None:
    prepare(site.machine, kind)
    tier = site.tier(kind, options={"media_url": "/media/"})
    assert "+# shop/production: written by" in site.preview(tier)
    assert "In effect." in site.apply(tier)
    _answers_as_it_should(site)

    _maintenance(site, "up")
    page = site.ask()
    assert (page.status, page.headers["Retry-After"]) == (503, "60")
    assert "<h1>" in page.text
    assert site.ask("/static/css/a.0123456789ab.css").text == "hashed"
    _maintenance(site, "down")
    assert site.ask().text == "r1"
    assert "Nothing has changed." in site.apply(tier)

    pid = _pid(site, kind)
    lines, words = BROKEN[kind]
    files = _files(site)
    refusal = site.refusal(site.tier(kind, lines=lines))
    assert words in refusal
    assert "Taken back" not in refusal  # nothing had been switched
    assert (_pid(site, kind), _files(site)) == (pid, files)
    assert site.ask().text == "r1"

    _can_not_move_where_it_can_not_listen(site, kind)
    assert site.ask().text == "r1"


@pytest.mark.parametrize("kind", KINDS)
def test_a_web_server_has_https_as_soon_as_there_is_a_certificate(
    site: TieredSite, kind: str
) -> None:
    prepare(site.machine, kind)
    tier = site.tier(
        kind,
        listen=[f"{scheme}://{site.machine.address}:{port}" for scheme, port in BOTH],
        certificate=f"{FOLDER}/chain.pem",
        certificate_key=f"{FOLDER}/key.pem",
        options={"acme": FOLDER},
    )
    assert "only http is served" in site.apply(tier)
    assert site.ask().text == "r1"
    place = f"{FOLDER}/.well-known/acme-challenge"
    site.machine.run(f"mkdir -p {place} && echo token >{place}/a", "root")
    assert site.ask("/.well-known/acme-challenge/a").text == "token"

    make_certificate(site.machine, FOLDER, owner="caddy" if kind == "caddy" else "root")
    assert "In effect." in site.apply(tier)
    assert site.ask(secure=True).text == "r1"
    redirect = site.ask("/a?b=c%20d")
    assert redirect.status in {301, 308}
    assert redirect.headers["Location"] == f"https://shop.example.org:{SECURE_PORT}/a?b=c%20d"
    assert site.ask(host="other.example.org").status == 421
    assert site.ask("/.well-known/acme-challenge/a").text == "token"

    make_certificate(site.machine, "/tmp/other")
    site.machine.run(f"cp /tmp/other/key.pem {FOLDER}/key2.pem; chmod 644 {FOLDER}/*", "root")
    other = replace(tier, certificate_key=f"{FOLDER}/key2.pem")
    assert "key" in site.refusal(other).lower()
    assert site.ask(secure=True).text == "r1"


BOTH = (("http", PORT), ("https", SECURE_PORT))


def _answers_as_it_should(site: TieredSite) -> None:
    answer = site.ask()
    assert (answer.status, answer.text) == (200, "r1")
    assert site.ask(host="other.example.org").status == 421
    assert site.ask(host="shopXexample.org").status == 421
    static = site.ask("/static/css/a.css", **GZIP)  # type: ignore[arg-type]
    assert static.status == 200
    assert "max-age=300" in static.headers["Cache-Control"]
    assert static.headers["Content-Encoding"] == "gzip"
    hashed = site.ask("/static/css/a.0123456789ab.css")
    assert hashed.text == "hashed"
    assert int(hashed.headers["Cache-Control"].partition("max-age=")[2].split(",")[0]) > 3e7
    missing = site.ask("/static/css/b.0123456789ab.css")
    assert (missing.status, missing.headers.get("Cache-Control")) == (404, None)
    assert site.ask("/static/css/").status in {403, 404}
    assert site.ask("/static/../shared/media/page.html").status in {400, 404}
    upload = site.ask("/media/page.html")
    assert (upload.status, upload.headers["Content-Security-Policy"]) == (200, "sandbox")
    assert upload.headers["X-Content-Type-Options"] == "nosniff"


def _can_not_move_where_it_can_not_listen(site: TieredSite, kind: str) -> None:
    site.machine.run(
        "systemd-run --quiet --unit other /usr/bin/python3 -m http.server --directory /var/empty"
        f" --bind {site.machine.address} 8090; sleep 0.3",
        "root",
    )
    refusal = site.refusal(site.tier(kind, listen=[f"http://{site.machine.address}:8090"]))
    assert "8090 is taken: python3" in refusal
    # Not an address of this machine: some servers see that only when they are reloaded.
    refusal = site.refusal(site.tier(kind, listen=["http://192.0.2.77:8090"]))
    if kind != "nginx":
        assert "what was here before is in effect." in refusal


def _maintenance(site: TieredSite, way: str) -> None:
    get_recipe(f"maintenance_{way}").function(site.site.host, site.site.site)


def _pid(site: TieredSite, kind: str) -> str:
    unit = {"apache": "apache2"}.get(kind, kind)
    return site.machine.run(f"systemctl show -P MainPID {unit}")


def _files(site: TieredSite) -> str:
    return site.machine.run("find /etc -name 'shop-*' | xargs sha256sum", "root")
