"""What the deployments of the chaos do: leave traces on their servers that tell how often."""

import shlex
import zlib

from deploy_manager.recipes import (
    Host,
    Phase,
    Pipeline,
    Scope,
    Site,
    Uses,
    add_pipeline,
    recipe,
)

PIPELINE = "chaos"
LINES = 100
WORDS = ("prepare", "once", "prove", "tidy")


def leave_trace(host: Host, site: Site, word: str) -> None:
    """Add a word to the server's file, by commands that print, take their time and have children.

    Whoever runs the step again asks for the same commands: the naps differ by server and release
    only.
    """
    nap = nap_of(host, site, word)
    told = f"{word} {site.release}"
    with host.cd(site.deploy_path):
        host.run(f"echo begin {told} >>told && sleep {nap}")
        host.run(
            f"n=0; while [ $n -lt {LINES} ]; do n=$((n+1)); echo {word} $n; echo {word} -$n >&2;"
            f" done; {stay(site)}"
        )
        host.run(f"echo end {told} >>told")


def nap_of(host: Host, site: Site, word: str) -> str:
    """Return seconds that look random, and are the same each time."""
    most = float(site.variables.get("CHAOS_NAP", "0.2"))
    part = zlib.crc32(f"{host.name} {site.release} {word}".encode()) / 2**32
    return f"{most * part:.3f}"


def stay(site: Site) -> str:
    """Return a line that lasts a while in several processes; a stubborn one ignores SIGTERM."""
    ignores = "trap '' TERM; " if site.variables.get("CHAOS_STUBBORN") else ""
    seconds = site.variables.get("CHAOS_STAY", "0.5")
    return f"{ignores}sleep {seconds} & ( sleep {seconds} ); wait"


@recipe("Chaos: prepare", uses=Uses.GIVEN)
def chaos_prepare(host: Host, site: Site) -> None:
    leave_trace(host, site, "prepare")
    for folder in (site.release_path, f"{site.release_path}/venv"):
        host.run(f"mkdir -p {shlex.quote(folder)} && touch {shlex.quote(folder)}/.complete")


@recipe("Chaos: once", scope=Scope.ONCE)
def chaos_once(host: Host, site: Site) -> None:
    leave_trace(host, site, "once")


@recipe("Chaos: prove")
def chaos_prove(host: Host, site: Site) -> None:
    leave_trace(host, site, "prove")


@recipe("Chaos: tidy up")
def chaos_tidy(host: Host, site: Site) -> None:
    leave_trace(host, site, "tidy")


@recipe("Chaos: a word", uses=Uses.GIVEN)
def chaos_word(host: Host, site: Site) -> None:
    """As little as a deployment can do."""
    with host.cd(site.deploy_path):
        host.run(f"echo word {site.release} >>told")


@recipe("Chaos: pour", uses=Uses.GIVEN)
def chaos_pour(host: Host, site: Site) -> None:
    """Print what the server's file `pour` prints."""
    with host.cd(site.deploy_path):
        host.run("sh ./pour")


add_pipeline(
    Pipeline(
        PIPELINE,
        "Chaos",
        (
            Phase("prepare", "Prepare", ("chaos_prepare",), gate=True),
            Phase("once", "Once", ("chaos_once",), gate=True),
            Phase("activate", "Activate", ("activate",), in_waves=True),
            Phase("verify", "Verify", ("chaos_prove",), in_waves=True),
            Phase("clean_up", "Clean up", ("chaos_tidy",)),
        ),
    )
)
