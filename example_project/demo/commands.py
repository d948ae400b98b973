"""Commands of `manage.py`, run as a user would, but never with a question."""

import subprocess
import sys

from example_project.demo.processes import TOP


def run(*words: str) -> int:
    """Run a command; return its exit code. Its output, and why it is refused, are printed.

    A process of its own: it has no terminal to ask in, and in this one it would take Ctrl-C, which
    ends the demo.
    """
    sys.stdout.flush()
    # The kernel ends it when the demo is killed: prctl(2), PR_SET_PDEATHSIG.
    guarded = ["setpriv", "--pdeathsig", "TERM", sys.executable]
    command = [*guarded, "example_project/manage.py", *words]
    with subprocess.Popen(
        command, cwd=TOP, stdin=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            return process.wait()
        except BaseException:
            process.terminate()
            raise
