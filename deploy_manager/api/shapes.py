"""What comes in and what goes out: the schema of the API is made from these classes."""

from datetime import datetime
from typing import Annotated, Literal

from ninja import Schema
from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema

LONGEST_KEY = 2**63 - 1
"""The greatest number that databases have as a key."""

NO_NUL = r"^[^\x00]*$"
"""PostgreSQL has no NUL in texts."""

WHOLE_HASH = r"^([0-9a-f]{40}|[0-9a-f]{64})$"
WEB_ADDRESS = r"^(https?://[^\x00-\x20]+)?$"
LONGEST_SOAK = 30 * 86400
FIRST_YEAR, LAST_YEAR = 2000, 9000
SHOWN = r"^([0-9a-f]{64}(:[0-9a-f]{0,64}:[0-9A-Za-z._-]*)?)?$"

Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=NO_NUL)]
Text = Annotated[str, StringConstraints(max_length=500, pattern=NO_NUL)]
Word = Annotated[str, StringConstraints(max_length=1000, pattern=NO_NUL)]
Number = Annotated[int, Field(ge=1, le=LONGEST_KEY)]
Site = Annotated[
    str,
    StringConstraints(max_length=200, pattern=r"^[^\x00/]+/[^\x00/]+$"),
    Field(description="An environment as project/name.", examples=["shop/production"]),
]
Shown = Annotated[
    str,
    StringConstraints(max_length=300, pattern=SHOWN),
    Field(description="`shown` of a plan: only that is run. Blank: what is planned now."),
]
States = Literal[
    "waiting",
    "queued",
    "running",
    "succeeded",
    "failed",
    "partly_failed",
    "skipped",
    "cancelled",
    "lost",
    "rolled_back",
]


class Body(Schema):
    """A body: what it does not know is refused, so that a misspelt name does not go unnoticed."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Invalid(Schema):
    """A value that is refused."""

    in_: str = Field(alias="in", examples=["body"])
    field: str
    detail: str


class Problem(Schema):
    """An error, as RFC 9457 has it."""

    type: Literal["about:blank"]
    title: str = Field(examples=["Conflict"])
    status: int = Field(examples=[409])
    detail: str = Field(description="What happened, then what to do; for people.")
    code: str = Field(
        description="The reason, for programs: one of docs/reasons.md, or of this page.",
        examples=["request_refused"],
    )
    errors: list[Invalid] = []


class Health(Schema):
    """That it is there; with a token, also what is under way of what that may see."""

    status: Literal["ok"]
    version: str
    queued: int = 0
    running: int = 0
    waiting: int = 0
    problems: int = Field(0, description="Rows on which reconcile fails.")


class Me(Schema):
    """The token that was sent."""

    token: str = Field(description="Its name.")
    user: str
    scopes: list[str]
    environments: list[str] | None = Field(description="null: all that its user may see.")
    expires_at: datetime | None
    last_used_at: datetime | None


class Placed(Schema):
    """A server of an environment, and the release that it was last seen to serve."""

    server: str
    release: str
    commit: str
    bad: bool


class Brief(Schema):
    """A deployment in few words."""

    number: int
    recipe: str
    state: States
    url: str


class EnvironmentOut(Schema):
    """An environment: what it serves, and what may come to it."""

    environment: str
    ref: str
    commit: str = Field(description="What most of its servers serve; blank: nothing.")
    release: str
    subject: str
    servers: list[Placed]
    last_deployment: Brief | None
    live_deployment: Brief | None
    frozen: str = Field(description="Who froze it, and why; blank: it is not frozen.")
    promotes_from: str = Field(description="Where new code has to come from; blank: from git.")
    required_statuses: list[str]
    approvals_needed: int


class ServerPlace(Schema):
    environment: str
    release: str
    commit: str


class ServerOut(Schema):
    """A server, and what it serves of the environments that may be seen."""

    server: str
    connection: str
    address: str
    port: int
    environments: list[ServerPlace]


class Pin(Schema):
    """A package that changes."""

    name: str
    before: str
    after: str
    goes_back: bool
    taken_back: bool
    advisories: list[str]
    undoes: str
    details: list[str]


class Override(Schema):
    """A pin of an upgrade that the repository does not have yet."""

    name: str
    version: str
    repository: str
    standing: str
    holds: bool
    outcome: str
    why: str
    fixes: list[str]
    since: str
    upgrade: int | None


class PlanOut(Schema):
    """What a deployment would do: as the event `plan` of manage.py, and what to confirm."""

    environment: str
    recipe: str
    ref: str
    commit_now: str
    commit: str
    bad: str
    release: str
    servers: list[str]
    left: list[str]
    waves: list[int]
    pins: list[Pin]
    migrations: list[str]
    databases: list[str]
    overrides: list[Override]
    build: list[str]
    broken: dict[str, str]
    arguments: list[str]
    foreseen: list[str]
    left_behind: list[str]
    approvals: str = Field(description="The approvals that it would wait for; blank: none.")
    promotes: str = Field(description="Whose release it brings; blank: none.")
    gate: str = Field(description="What its code did not pass; blank: nothing.")
    not_now: str = Field(description="What it would have to wait for; blank: nothing.")
    reason: list[str] = Field([], description="The codes of the sentences above.")
    to_confirm: list[Pin] = Field(description="What `take_back` would have to agree to.")
    shown: str = Field(description="Send it with the request: then exactly this is run.")


class Asked(Body):
    """What is to be run, and where."""

    environment: Site
    recipe: Name = "deploy"
    ref: Text = Field("", description="Branch, tag or commit; blank: the environment's.")
    servers: list[Name] = Field([], max_length=1000, description="None: all of them.")
    to: Text = Field(
        "", description="A release, or the beginning of its commit; for a rollback, blank: before."
    )
    promote: bool = Field(False, description="Bring exactly what another environment serves.")
    from_: Text = Field("", alias="from", description="Whose; blank: the one it is promoted from.")
    forced_migrations: list[Name] = Field([], max_length=100)
    arguments: list[Word] = Field([], max_length=100, description="Of the recipe manage_site.")
    break_glass: bool = Field(False, description="Do without the approvals; needs a reason.")


class Occasion(Body):
    """Why, when, and what is agreed to."""

    reason: Text = ""
    wait: bool = Field(False, description="Wait until it may run, instead of being refused.")
    at: Text = Field(
        "", description="Not before; in the environment's time zone unless it has an offset."
    )
    take_back: bool = Field(False, description="Agree to undo what an upgrade or a fix brought.")


class DeploymentIn(Asked, Occasion):
    """A request for a deployment."""

    leave_others: bool = Field(False, description="Agree that other servers serve another commit.")
    shown: Shown = ""


class RetryIn(Occasion):
    """A request to run a deployment again on the servers where it did not succeed."""

    break_glass: bool = False
    shown: Shown = ""


class DecisionIn(Body):
    reason: Text = ""
    shown: Annotated[str, StringConstraints(max_length=64, pattern=r"^([0-9a-f]{64})?$")] = Field(
        "", description="`shown` of the deployment: only that is decided about."
    )


class GlassIn(Body):
    reason: Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=NO_NUL)]


class DeploymentOut(Schema):
    """A deployment as it is now."""

    number: int
    environment: str
    recipe: str
    state: States
    live: bool
    message: str
    reason: list[str] = Field(description="The codes of the message.")
    ref: str
    commit: str
    release: str
    why: str = Field(description="The reason that was given for it.")
    source: str
    requested_by: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    not_before: datetime | None
    retry_of: int | None
    approvals_needed: int
    approve_by: datetime | None
    breaks_glass: bool
    cancel_requested_by: str
    url: str = Field(description="Its page in the admin.")


class Decision(Schema):
    by: str
    decision: str
    reason: str
    at: datetime
    counts: bool = Field(description="Whether it counts now.")


class DeploymentDetail(DeploymentOut):
    """A deployment with its servers and what people decided about it."""

    servers: dict[str, States]
    decisions: list[Decision]
    shown: str = Field(description="What to send with a decision; blank: it waits for none.")


class Requested(Schema):
    deployment: DeploymentDetail


class DeploymentList(Schema):
    deployments: list[DeploymentOut]
    before: int | None = Field(description="Ask for the next page with it; null: that was all.")


class EventState(Schema):
    state: States
    message: str
    reason: list[str] = []
    started_at: datetime | None
    finished_at: datetime | None


class HostEvent(EventState):
    event: Literal["host"]
    server: str
    wave: int


class StepEvent(EventState):
    event: Literal["step"]
    server: str
    step: str
    number: int
    exit_code: int | None


class OutputEvent(Schema):
    event: Literal["output"]
    server: str
    step: str
    stream: Literal["our_own", "stdout", "stderr"]
    text: str


class WaitingEvent(Schema):
    event: Literal["waiting"]
    deployment: int
    message: str
    reason: list[str] = []


class SummaryEvent(EventState):
    event: Literal["summary"]
    deployment: int
    commit: str
    release: str
    servers: dict[str, States]


AnyEvent = Annotated[
    HostEvent | StepEvent | OutputEvent | WaitingEvent | SummaryEvent,
    Field(discriminator="event"),
]


class EventsOut(Schema):
    """What happened after a cursor."""

    events: list[AnyEvent]
    cursor: int = Field(description="Send it as `after` the next time.")
    more: bool = Field(description="Whether there is more already: ask again at once.")
    live: bool = Field(description="Whether it has not ended yet.")


class CommitOut(Schema):
    hash: str
    subject: str
    author: str
    committed_at: datetime


class NotesOut(Schema):
    """Release notes of a deployment."""

    deployment: int
    before: str = Field(description="The commit that served before; blank: none.")
    after: str
    commits: list[CommitOut] = Field(description="What came, the newest first.")
    taken_back: list[CommitOut] = Field(description="What served before and does not any more.")
    has_more: bool = Field(description="Whether there are more than these.")
    problem: str = Field(description="Why the commits are not known; blank: they are.")
    markdown: str


class Place(Schema):
    environment: str
    server: str


class Running(Place):
    version: str
    pinned: str = Field(description="What the environment lists; blank: nothing.")
    is_comparable: bool = Field(description="Whether it is a version by PEP 440.")


class WhoRunsOut(Schema):
    """The servers that run a package in such a version."""

    spec: str
    runs: list[Running]
    unseen: list[Place] = Field(description="Servers that were not asked, or did not answer.")


class AdvisoryOut(Schema):
    identifier: str
    aliases: list[str]
    summary: str
    fixed_in: list[str]
    url: str


class VersionOut(Schema):
    environment: str
    package: str
    version: str
    servers: list[str]


class Vulnerable(VersionOut):
    pinned: bool
    fixed_in: str
    advisories: list[AdvisoryOut]


class UnknownOut(VersionOut):
    problem: str
    reason: list[str] = []


class UnseenOut(Place):
    problem: str
    reason: list[str] = []


class AdvisoriesOut(Schema):
    """What is known of what is installed or pinned."""

    vulnerable: list[Vulnerable]
    unknown: list[UnknownOut] = Field(description="Versions that could not be checked.")
    unseen: list[UnseenOut] = Field(description="Servers whose packages are not known.")


def _read_moment(value: object) -> datetime:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    if moment is None or moment.tzinfo is None:
        raise ValueError("Write a time with an offset, like 2026-11-24T02:00:00+01:00.")
    if not FIRST_YEAR < moment.year < LAST_YEAR:
        raise ValueError("That time is too far away.")
    return moment


Moment = Annotated[
    datetime,
    BeforeValidator(_read_moment),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


class StatusIn(Body):
    """What a check of a CI says of a commit."""

    project: Annotated[str, StringConstraints(min_length=1, max_length=50, pattern=NO_NUL)]
    commit: Annotated[str, StringConstraints(pattern=WHOLE_HASH)]
    context: Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=NO_NUL)]
    state: Literal["pending", "success", "failure"]
    description: Annotated[str, StringConstraints(max_length=300, pattern=NO_NUL)] = ""
    url: Annotated[str, StringConstraints(max_length=500, pattern=WEB_ADDRESS)] = ""
    at: Moment | None = Field(None, description="When it was said; now, if it is left out.")


class StatusOut(Schema):
    project: str
    commit: str
    context: str
    state: Literal["pending", "success", "failure"]
    description: str
    url: str
    at: datetime
    reported_by: str


class StatusReported(StatusOut):
    """What is known of the check now."""

    taken: bool = Field(description="false: a later word of it was known already.")


class UpgradeAsked(Body):
    """Which packages are to move, how far, and where."""

    environments: list[Site] = Field(min_length=1, max_length=100, description="In their order.")
    packages: list[Name] = Field([], max_length=500, description="Like django==5.2.8; none: all.")
    reach: Literal["", "security", "patch", "minor", "latest"] = ""
    reason: Text = ""
    soak: int = Field(0, ge=0, le=LONGEST_SOAK, description="Seconds between environments.")
    cooldown: int = Field(0, ge=0, le=LONGEST_SOAK, description="No version younger: seconds.")
    stop_on_failure: bool = False


class UpgradePlanAsked(Schema):
    """The number under which a worker answers."""

    plan: int
    url: str


class UpgradeMove(Schema):
    name: str
    before: str
    after: str
    why: str
    fixes: list[str]
    advisories: list[str]


class StagePlan(Schema):
    environment: str
    moves: list[UpgradeMove]
    bad: str
    not_now: str


class UpgradePlanOut(Schema):
    """What an upgrade would move, once a worker has found out."""

    plan: int
    state: Literal["queued", "running", "succeeded", "failed"]
    message: str
    environments: list[str]
    stages: list[StagePlan]
    unmoved: list[str]
    problems: list[str]
    taken_back: list[str] = Field(description="What `take_back` would have to agree to.")
    shown: str = Field(description="Send it with the request: then exactly this is done.")


class UpgradeIn(Body):
    """A request for an upgrade as it was planned."""

    plan: Number
    shown: Annotated[str, StringConstraints(max_length=100, pattern=r"^[0-9a-f]*$")] = ""
    take_back: bool = Field(False, description="Agree to undo what an upgrade or a fix brought.")


UpgradeStates = Literal[
    "waiting",
    "running",
    "returning",
    "succeeded",
    "failed",
    "rolled_back",
    "skipped",
    "cancelled",
]


class StageOut(Schema):
    environment: str
    state: UpgradeStates
    message: str
    moves: list[UpgradeMove]
    deployment: int | None


class UpgradeOut(Schema):
    """An upgrade as it is now."""

    number: int
    title: str
    state: UpgradeStates
    live: bool
    message: str
    reason: list[str] = Field(description="The codes of the message.")
    why: str = Field(description="The reason that was given for it.")
    source: str
    requested_by: str
    created_at: datetime
    finished_at: datetime | None
    stages: list[StageOut]
    url: str


class UpgradeRequested(Schema):
    upgrade: UpgradeOut


class UpgradeList(Schema):
    upgrades: list[UpgradeOut]
    before: int | None = Field(description="Ask for the next page with it; null: that was all.")
