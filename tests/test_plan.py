"""A plan tells what a request would do, and writes nothing."""

import pytest
from django.utils import timezone

from deploy_manager.cli.deployments.plan import describe
from deploy_manager.deployments.plan import make_plan
from deploy_manager.deployments.request import DeploymentOptions
from deploy_manager.exceptions import RequestRefused, UnknownRecipe
from deploy_manager.models import Deployment, Environment, LockFile, Placement, Release
from deploy_manager.requirements.pins import PinChange
from tests.inventory import Inventory, make_inventory
from tests.parts.repository import Repository

pytestmark = pytest.mark.django_db
PINS = "django==5.2.8\nsqlparse==0.5.3\n"


@pytest.fixture
def shop(repository: Repository, db: None) -> Inventory:
    """`shop/production` on servers `one` and `two`, with nothing deployed."""
    repository.commit("Open the shop", {"manage.py": "", "requirements.txt": PINS})
    made = make_inventory(repository.path.parent / "sites", str(repository.path))
    made.folder.mkdir()
    made.add_server("one")
    made.add_server("two")
    return made


def serve(placement: Placement, commit: str, pins: str = PINS) -> None:
    """Let a server serve a commit, as the worker notes it."""
    lock = LockFile.objects.of(f"{hash(pins):064x}"[-64:], pins)
    made = Release.objects.make(placement.environment, commit, "", lock)
    placement.active_release, placement.seen_at = made, timezone.now()
    placement.save()


def serve_everywhere(shop: Inventory, commit: str, pins: str = PINS) -> None:
    for placement in shop.environment.placements.all():
        serve(placement, commit, pins)


def test_the_first_plan_shows_the_commit_all_pins_and_every_step(
    shop: Inventory, repository: Repository
) -> None:
    plan = make_plan(shop.environment)
    assert plan.commit is not None
    assert (plan.commit.hash, plan.commit_now, plan.ref) == (repository.head, "", "main")
    assert [commit.subject for commit in plan.commits] == ["Open the shop", "First"]
    assert plan.pin_changes == (
        PinChange("django", "", "5.2.8"),
        PinChange("sqlparse", "", "0.5.3"),
    )
    one, two = plan.servers
    assert "Migrate the database" in one.steps
    assert "Migrate the database" not in two.steps
    assert plan.problems == ()
    assert not Deployment.objects.exists()


def test_the_next_plan_shows_what_is_new_since(shop: Inventory, repository: Repository) -> None:
    serve_everywhere(shop, repository.head)
    repository.commit("Move on", {"requirements.txt": "django==5.2.9\nwhitenoise==6.9.0\n"})
    repository.commit("And on", {"a.txt": "2"})
    plan = make_plan(shop.environment)
    assert [commit.subject for commit in plan.commits] == ["And on", "Move on"]
    assert plan.pin_changes == (
        PinChange("django", "5.2.8", "5.2.9"),
        PinChange("sqlparse", "0.5.3", ""),
        PinChange("whitenoise", "", "6.9.0"),
    )


def test_where_nothing_changed_nothing_is_reported(shop: Inventory, repository: Repository) -> None:
    serve_everywhere(shop, repository.head)
    plan = make_plan(shop.environment)
    assert plan.commit is not None
    assert plan.commit.hash == plan.commit_now
    assert (plan.commits, plan.pin_changes) == ((), ())


def test_another_branch_and_fewer_servers_can_be_planned(
    shop: Inventory, repository: Repository
) -> None:
    repository.git("checkout", "--quiet", "-b", "summer")
    repository.commit("Sale", {"a.txt": "2"})
    plan = make_plan(shop.environment, ref="summer", servers=["two"])
    assert plan.commits[0].subject == "Sale"
    assert [server.placement.server.name for server in plan.servers] == ["two"]
    assert "Migrate the database" in plan.servers[0].steps


def test_history_that_was_rewritten_is_still_planned(shop: Inventory) -> None:
    serve_everywhere(shop, "f" * 40)
    plan = make_plan(shop.environment)
    assert plan.commit_now == "f" * 40
    assert [commit.subject for commit in plan.commits] == ["Open the shop"]
    assert plan.problems == ()


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"ref": "nowhere"}, "nowhere"),
        ({"ref": "--upload-pack=x"}, "--upload-pack=x"),
        ({"project__repository": "/nowhere/shop.git"}, "/nowhere/shop.git"),
        ({"project__folder": "site"}, "manage.py"),
        ({"project__requirements_file": "pins.txt"}, "pins.txt"),
        ({"pins_from": Environment.PinsFrom.ROWS}, "import_requirements"),
    ],
)
def test_why_it_would_fail_is_reported_beforehand(
    shop: Inventory, fields: dict[str, str], problem: str
) -> None:
    for name, value in fields.items():
        row = shop.environment.project if "__" in name else shop.environment
        setattr(row, name.removeprefix("project__"), value)
    plan = make_plan(shop.environment)
    assert len(plan.problems) == 1
    assert problem in plan.problems[0]
    assert plan.commit is None
    assert len(plan.servers) == 2


def test_what_takes_no_code_looks_at_no_repository(shop: Inventory) -> None:
    shop.environment.project.repository = "/nowhere/shop.git"
    plan = make_plan(shop.environment, "ping", ref="nowhere")
    assert (plan.ref, plan.commit, plan.problems) == ("", None, ())
    assert [server.steps for server in plan.servers] == [("Ping",), ("Ping",)]


def test_what_a_request_would_refuse_is_refused(shop: Inventory) -> None:
    with pytest.raises(UnknownRecipe):
        make_plan(shop.environment, "dploy")
    with pytest.raises(RequestRefused):
        make_plan(shop.environment, servers=["ten"])


def test_new_migrations_are_named_from_the_repository_and_nothing_is_run(
    shop: Inventory, repository: Repository
) -> None:
    made = {f"shop/migrations/{name}.py": "raise SystemExit" for name in ("__init__", "0001_a")}
    repository.commit("Keep prices", {**made, "shop/migrations/helpers.py": ""})
    assert make_plan(shop.environment).migrations == ("shop.0001_a",)
    serve_everywhere(shop, repository.head)
    assert make_plan(shop.environment).migrations == ()
    others = ("tests/blog/migrations/0001_a.py", "venv/lib/blog/migrations/0001_a.py")
    more = dict.fromkeys(("shop/migrations/0002_price.py", "src/blog/migrations/0001_b.py"), "")
    repository.commit("Price and blog", {**more, **dict.fromkeys(others, "")})
    plan = make_plan(shop.environment)
    assert plan.migrations == ("blog.0001_b", "shop.0002_price")
    assert plan.databases == ("default",)
    shown = describe(plan, DeploymentOptions()).plain
    assert "New migrations: blog.0001_b, shop.0002_price; databases: default" in shown


def test_a_plan_names_the_databases_that_are_migrated(shop: Inventory) -> None:
    shop.environment.migrate_databases = ["default", "reports"]
    assert make_plan(shop.environment).databases == ("default", "reports")
    shop.environment.migrate = Environment.Migrate.NEVER
    assert make_plan(shop.environment).databases == ()
    assert make_plan(shop.environment, "ping").databases == ()


def test_a_serving_commit_that_is_gone_leaves_open_what_is_new(
    shop: Inventory, repository: Repository
) -> None:
    serve_everywhere(shop, "f" * 40)
    repository.commit("Keep prices", {"shop/migrations/0001_a.py": ""})
    assert make_plan(shop.environment).migrations == ()
