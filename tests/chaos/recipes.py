"""What the deployments of the chaos do: leave traces on their servers that tell how often."""

import shlex

from deploy_manager.recipes import (
    Host,
    Phase,
    Scope,
    Site,
    Story,
    Uses,
    add_story,
    recipe,
)

STORY = "chaos"
LINES = 100


def leave_trace(host: Host, site: Site, word: str) -> None:
    """Add a word to the server's file, by commands that print and take their time."""
    folder = shlex.quote(site.deploy_path)
    told = f"{word} {site.release}"
    host.run(f"cd {folder} && echo begin {told} >>told && sleep 0.05")
    host.run(f"n=0; while [ $n -lt {LINES} ]; do n=$((n+1)); echo {word} $n; done; sleep 0.1")
    host.run(f"cd {folder} && echo end {told} >>told")


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


add_story(
    Story(
        STORY,
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
