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
    "15": Row(
        100,
        6,
        "cancelled at a random moment",
        "processes gone within 15 s; never called cancelled while they run",
    ),
}
SHORT = [name for name, row in TABLE.items() if row.short]
