"""Symbolic links that lead somewhere else from one moment to the next."""

import shlex

from deploy_manager.recipes.host import Host


def point(host: Host, link: str, target: str, quiet: bool = False) -> None:
    """Let a link lead to `target`, which is seen from the link's own folder, by one rename.

    GNU's `ln -sfn` is not atomic everywhere; a rename is.
    """
    beside = f"{link}.new"
    make = shlex.join(["ln", "-sfn", "--", target, beside])
    switch = shlex.join(["mv", "-fT", "--", beside, link])
    host.run(f"{make} && {switch}", quiet=quiet)
