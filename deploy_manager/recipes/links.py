"""Symbolic links that are switched atomically."""

import shlex

from deploy_manager.recipes.host import Host


def point(host: Host, link: str, target: str, quiet: bool = False) -> None:
    """Point a link at `target`, relative to the link's own folder, by one rename.

    `ln -sfn` alone may unlink first and leave a moment without the link; a rename does not.
    """
    host.run(f"{_make(link, target)} && {_switch(link)}", quiet=quiet)


def prepare_link(host: Host, link: str, target: str) -> None:
    """Create a new link beside the old one; `switch_link` replaces it."""
    host.run(_make(link, target), quiet=True)


def switch_link(host: Host, link: str) -> None:
    """Replace a link by the one prepared beside it, by one rename."""
    host.run(_switch(link), quiet=True)


def beside(link: str) -> str:
    """Return the path at which a link is prepared."""
    return f"{link}.new"


def _make(link: str, target: str) -> str:
    # -n: a link that an interrupted step left beside is replaced, not followed into its folder.
    return shlex.join(["ln", "-sfn", "--", target, beside(link)])


def _switch(link: str) -> str:
    # -T: else mv follows the old link, and moves the new one into the release that served.
    return shlex.join(["mv", "-fT", "--", beside(link), link])
