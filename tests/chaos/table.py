"""Which faults there are: what is demanded, how often, and how often in the short form."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A fault; `tests.chaos.rows` has the function of the same name that brings it about."""

    count: int
    short: int
    words: str
    demanded: str


TABLE = {
    "1": Row(
        200,
        6,
        "worker tree killed (SIGKILL) at a random moment; and 10: what of its log was stored",
        "true ends within 30 s, locks free within 5 s, no host between releases, nothing twice,"
        " every line of log once and in order",
    ),
    "2-child": Row(50, 4, "prefork children killed", "the same, and the worker serves within 10 s"),
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
    ),
    "6": Row(
        50,
        5,
        "PostgreSQL restarted, connections terminated in the middle",
        "no false success; ends within 60 s",
    ),
    "9": Row(
        8,
        3,
        "output: invalid UTF-8, NUL, one 50 MB line, 100 MB on both streams",
        "the worker grows by at most 64 MB, at least 5 MB/s, stored byte by byte",
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
    "17": Row(
        10,
        1,
        "200 servers over 4 workers, one of them killed",
        "every host true, nothing twice",
    ),
    "18": Row(
        300,
        8,
        "deployments in a loop",
        "memory, files, threads and processes of the worker stay as they are",
    ),
}
SHORT = [name for name, row in TABLE.items() if row.short]
