"""Symbolic links that lead somewhere else from one moment to the next."""

import shlex

from deploy_manager.recipes.host import Host


def point(host: Host, link: str, target: str, quiet: bool = False) -> None:
    """Let a link lead to `target`, which is seen from the link's own folder, by one rename.

    GNU's `ln -sfn` is not atomic everywhere; a rename is.
    """
    host.run(f"{_make(link, target)} && {_switch(link)}", quiet=quiet)


def prepare_link(host: Host, link: str, target: str) -> None:
    """Write beside a link where it is to lead; `switch_link` lets it."""
    host.run(_make(link, target), quiet=True)


def switch_link(host: Host, link: str) -> None:
    """Let a link lead where it was prepared to, by one rename."""
    host.run(_switch(link), quiet=True)


def beside(link: str) -> str:
    """Return where a link is prepared."""
    return f"{link}.new"


def _make(link: str, target: str) -> str:
    return shlex.join(["ln", "-sfn", "--", target, beside(link)])


def _switch(link: str) -> str:
    return shlex.join(["mv", "-fT", "--", beside(link), link])
