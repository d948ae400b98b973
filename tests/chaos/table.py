"""Which faults there are: what is demanded, how often, and how often in the short form.

The test suite runs what of the short form is quick; `python -m tests.chaos --short` all of it.
"""

from dataclasses import dataclass

from tests.parts.privileges import may_mount


@dataclass(frozen=True)
class Row:
    """A fault; `tests.chaos.rows` has the function of the same name that brings it about."""

    count: int
    short: int
    words: str
    demanded: str
    needs_root: bool = False
    """For network namespaces and mounts."""

    in_suite: bool = True
    """Whether its short form is quick enough for the test suite."""


NOTICED = (
    "noticed within 20 s; goes on where it was and succeeds within 60 s of the link's return,"
    " nothing twice; fails only where nobody could log in"
)
TABLE = {
    "1": Row(
        200,
        6,
        "worker tree killed (SIGKILL) at a random moment; and 10: what of its log was stored",
        "true ends within 30 s, locks free within 5 s, no host between releases, nothing twice,"
        " every line of log once and in order",
    ),
    "2-child": Row(
        50,
        4,
        "prefork children killed",
        "the same, and the worker serves within 10 s",
        in_suite=False,
    ),
    "2-term": Row(
        50,
        3,
        "SIGTERM to a worker that is at work",
        "all succeed within 30 s, and another serves within 10 s",
    ),
    "3": Row(
        500,
        20,
        "every message delivered 5 times, 8 workers",
        "as many claims as deployments, nothing twice on any server",
    ),
    "4": Row(
        100,
        4,
        "holder stopped (SIGSTOP) past its lease, and continued",
        "all it wants to write later is refused, in the rows and on the servers",
    ),
    "5": Row(
        200,
        20,
        "Redis killed without persistence, all requests queued in it",
        "all run, and the last starts within 60 s of its return",
        in_suite=False,
    ),
    "6": Row(
        50,
        5,
        "PostgreSQL restarted, connections terminated in the middle",
        "no false success; ends within 60 s",
    ),
    "7-hole": Row(
        30,
        2,
        "link that swallows everything for 18 to 30 s",
        NOTICED,
        needs_root=True,
        in_suite=False,
    ),
    "7-reset": Row(30, 3, "connections reset in the middle", NOTICED, needs_root=True),
    "7-loss": Row(
        30, 2, "link that loses every tenth packet", NOTICED, needs_root=True, in_suite=False
    ),
    "7-slow": Row(30, 2, "link of 64 kbit/s", NOTICED, needs_root=True, in_suite=False),
    "7-sshd": Row(30, 3, "what serves the connections killed", NOTICED, needs_root=True),
    "8": Row(
        3,
        1,
        "sshd that never greets, stalls the login, hangs",
        "released within 20, 35, 60 s; other servers not slowed",
        in_suite=False,
    ),
    "9": Row(
        8,
        3,
        "output: invalid UTF-8, NUL, one 50 MB line, 100 MB on both streams",
        "the worker grows by at most 64 MB, at least 5 MB/s, stored byte by byte",
    ),
    "11": Row(
        60,
        2,
        "disk full at any step, read-only, pip killed, corrupt wheel, unknown package, migrate"
        " fails, health check 500, hanging, redirecting",
        "a clear error on host and step, `current` as before, the next deployment works unaided",
        needs_root=True,
        in_suite=False,
    ),
    "12": Row(
        500,
        20,
        "`current` read at 1 kHz while it is switched",
        "never missing, never incomplete",
    ),
    "13": Row(
        200,
        10,
        "two managers begin on one server and path",
        "never two holders; the loser is told who within 2 s",
    ),
    "15": Row(
        100,
        6,
        "cancelled at a random moment",
        "processes gone within 15 s; never called cancelled while they run",
    ),
    "16": Row(
        50,
        2,
        "HTTP load during deployments and rollbacks behind gunicorn",
        "no failed request, with two servers behind a balancer nor with one by graceful reload",
        in_suite=False,
    ),
    "17": Row(
        10,
        1,
        "200 servers over 4 workers, one of them killed",
        "every host true, nothing twice",
        in_suite=False,
    ),
    "18": Row(
        300,
        8,
        "deployments in a loop",
        "memory, files, threads and processes of the worker stay as they are",
        in_suite=False,
    ),
}
IN_SUITE = [
    name for name, row in TABLE.items() if row.in_suite and (may_mount() or not row.needs_root)
]
