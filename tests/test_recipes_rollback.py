"""Back to an earlier release: it must be whole, and migrations in between are undone or refused."""

import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from deploy_manager.exceptions import CommandFailed, RecipeError
from deploy_manager.hosts.dry import DryHost
from deploy_manager.recipes import get_recipe
from tests.parts.matrices import few
from tests.recipe_site import CODE, RecipeSite, make_recipe_site

SETTINGS = CODE["shop_settings.py"].replace("INSTALLED_APPS = [", 'INSTALLED_APPS = ["shop", ')
SHOP = {**CODE, "shop_settings.py": SETTINGS, "shop/__init__.py": "", "shop/models.py": ""}
MIGRATION = """
from django.db import migrations, models
def nothing(apps, schema_editor): pass
class Migration(migrations.Migration):
    dependencies = {depends!r}
    replaces = {replaces!r}
    operations = [{operations}]
"""
MAKE = 'migrations.CreateModel("{0}", [("id", models.BigAutoField(primary_key=True))])'
FOR_EVER = "migrations.RunPython(nothing)"
HIDDEN = f"migrations.SeparateDatabaseAndState(database_operations=[{FOR_EVER}])"
FIRST = {"0001_first": MAKE.format("First")}


def migrations(operations: dict[str, str], **depends: tuple[str, ...]) -> dict[str, str]:
    """Files of the app `shop`: each migration depends on the one before it, or as said."""
    files = {"shop/migrations/__init__.py": ""}
    before: tuple[str, ...] = ()
    for name, operation in operations.items():
        needed = [("shop", other) for other in depends.get(f"_{name}", before)]
        text = MIGRATION.format(depends=needed, replaces=[], operations=operation)
        files[f"shop/migrations/{name}.py"] = text
        before = (name,)
    return files


class Shop:
    """A site that runs by this test's own Django, and what is in its database."""

    def __init__(self, recipe_site: RecipeSite) -> None:
        self.recipe_site = recipe_site
        recipe_site.use(shared=("shared",))

    def take(self, name: str, files: dict[str, str]) -> None:
        """Take a release in hand that is whole on the server."""
        self.recipe_site.take(name, {**SHOP, **files})

    def serve(self, name: str, files: dict[str, str]) -> None:
        """Serve a release with its migrations applied."""
        self.take(name, files)
        self.recipe_site.run("migrate", "activate")

    def back(self, name: str) -> str:
        """Ask for the rollback to a release; return what was printed."""
        self.recipe_site.use(release=name)
        return self.recipe_site.run("check_release", "reverse_migrations")

    @property
    def applied(self) -> list[str]:
        with sqlite3.connect(f"{self.recipe_site.site.shared_path}/shared/db.sqlite3") as database:
            rows = database.execute("SELECT name FROM django_migrations WHERE app = 'shop'")
            names = sorted(name for (name,) in rows)
        database.close()
        return names


@pytest.fixture(scope="module")
def as_served(tmp_path_factory: pytest.TempPathFactory, small_lock: str, tools_cache: Path) -> Path:
    """Release r1 with one migration, which is served."""
    made = Shop(make_recipe_site(tmp_path_factory.mktemp("served"), small_lock, tools_cache))
    made.serve("r1", migrations(FIRST))
    return Path(made.recipe_site.site.deploy_path)


@pytest.fixture
def shop(recipe_site: RecipeSite, as_served: Path) -> Shop:
    """A copy of it, with a database of its own."""
    copy = Path(recipe_site.site.deploy_path)
    shutil.copytree(as_served, copy, symlinks=True)
    (copy / "releases/r1/shared").unlink()
    (copy / "releases/r1/shared").symlink_to(copy / "shared/shared")
    return Shop(recipe_site)


def test_a_release_that_is_not_whole_is_refused_with_those_that_are(shop: Shop) -> None:
    shop.recipe_site.new_release("r2", SHOP)
    with pytest.raises(
        RecipeError, match=r"code of release r2 is not .* Choose a complete one: r1\."
    ):
        shop.recipe_site.run("check_release")
    shop.recipe_site.run("checkout_latest")
    with pytest.raises(RecipeError, match=r"release r2 is not complete .* Choose .*: r1\."):
        shop.recipe_site.run("check_release")
    os.unlink(f"{shop.recipe_site.site.venvs_path}/ours/.complete")
    shop.recipe_site.use(release="r1")
    with pytest.raises(RecipeError, match=r"Choose a complete one: none\."):
        shop.recipe_site.run("check_release")


@pytest.mark.long
def test_where_no_migrations_lie_between_nothing_is_done(shop: Shop) -> None:
    shop.serve("r2", migrations(FIRST))
    assert "There are no migrations between the two releases." in shop.back("r1")
    assert shop.applied == ["0001_first"]


def test_migrations_between_are_reversed_the_newest_first_and_shown(shop: Shop) -> None:
    more = {"0002_more": MAKE.format("More"), "0003_most": MAKE.format("Most")}
    shop.serve("r2", migrations({**FIRST, **more}))
    assert shop.applied == ["0001_first", "0002_more", "0003_most"]
    printed = shop.back("r1")
    assert "migrate --noinput shop 0002_more" in printed
    assert printed.index("Unapplying shop.0003_most") < printed.index("Unapplying shop.0002_more")
    assert shop.applied == ["0001_first"]
    assert "There are no migrations between" in shop.back("r1")


@pytest.mark.long
def test_an_app_that_is_not_known_yet_is_left_at_zero(shop: Shop) -> None:
    shop.take("r0", {"shop/migrations/__init__.py": ""})
    assert "migrate --noinput shop zero" in shop.back("r0")
    assert shop.applied == []


@pytest.mark.parametrize("operation", few(HIDDEN, FOR_EVER))
def test_one_that_can_t_be_reversed_is_named_and_nothing_changed(
    shop: Shop, operation: str
) -> None:
    more = {"0002_split": operation, "0003_most": MAKE.format("Most")}
    shop.serve("r2", migrations({**FIRST, **more}))
    with pytest.raises(CommandFailed, match=r"--force-migration shop\.0002_split$") as failed:
        shop.back("r1")
    assert str(failed.value).startswith("shop.0002_split can't be reversed: nothing was changed.")
    assert shop.applied == ["0001_first", "0002_split", "0003_most"]


def test_what_is_forced_by_name_leaves_the_whole_database_as_it_is(shop: Shop) -> None:
    more = {"0002_split": FOR_EVER, "0003_join": FOR_EVER, "0004_most": MAKE.format("Most")}
    shop.serve("r2", migrations({**FIRST, **more}))
    shop.recipe_site.use(forced_migrations=frozenset({"shop.0002_split"}))
    with pytest.raises(CommandFailed, match=r"--force-migration shop\.0003_join"):
        shop.back("r1")
    both = frozenset({"shop.0002_split", "shop.0003_join"})
    shop.recipe_site.use(forced_migrations=both)
    assert "Forced: the database is left as it is, with shop.0004_most," in shop.back("r1")
    assert len(shop.applied) == 4


def test_a_rollback_that_has_to_keep_the_database_asks_it_nothing(shop: Shop) -> None:
    shop.serve("r2", migrations({**FIRST, "0002_more": MAKE.format("More")}))
    shop.recipe_site.use(keep_database=True)
    assert shop.back("r1").strip() == "The database is left as it is, as requested."
    assert shop.applied == ["0001_first", "0002_more"]


@pytest.mark.long
def test_one_beside_a_migration_that_stays_can_t_be_undone_alone(shop: Shop) -> None:
    """`migrate shop 0001_first` would undo both branches."""
    ours = {**FIRST, "0002_ours": MAKE.format("Ours")}
    shop.serve("r2", migrations(ours))
    theirs = {**ours, "0002_theirs": MAKE.format("Theirs"), "0003_merge": ""}
    shop.serve(
        "r3",
        migrations(theirs, _0002_theirs=("0001_first",), _0003_merge=("0002_ours", "0002_theirs")),
    )
    with pytest.raises(CommandFailed, match=r"^shop\.0002_theirs can't be reversed"):
        shop.back("r2")
    assert len(shop.applied) == 4
    printed = shop.back("r1")
    assert "Unapplying shop.0003_merge" in printed
    assert shop.applied == ["0001_first"]


def squashed(*replaced: str) -> dict[str, str]:
    replaces = [("shop", name) for name in replaced]
    operation = MAKE.format("First")
    text = MIGRATION.format(depends=[], replaces=replaces, operations=operation)
    return {"shop/migrations/0001_squashed.py": text}


@pytest.mark.long
def test_a_squashed_migration_is_known_where_all_that_it_replaces_is(shop: Shop) -> None:
    shop.serve("r2", {**migrations(FIRST), **squashed("0001_first")})
    assert "0001_squashed" in shop.applied
    assert "There are no migrations between" in shop.back("r1")
    assert "0001_squashed" in shop.applied


@pytest.mark.long
def test_a_squashed_migration_that_is_known_in_part_is_never_undone(shop: Shop) -> None:
    two = {**FIRST, "0002_more": ""}
    shop.serve("r2", {**migrations(two), **squashed("0001_first", "0002_more")})
    with pytest.raises(CommandFailed, match=r"^shop\.0001_squashed can't be reversed"):
        shop.back("r1")


def test_migrations_that_can_t_be_read_stop_the_rollback_with_the_reason(shop: Shop) -> None:
    shop.take("r0", {**migrations(FIRST), "shop_settings.py": "raise OSError('no disk')"})
    with pytest.raises(RecipeError, match=r"of .*/r0 could not be read: OSError: no disk$"):
        shop.back("r0")


def test_a_dry_run_does_not_say_that_there_are_none(recipe_site: RecipeSite) -> None:
    told: list[str] = []
    get_recipe("reverse_migrations").function(DryHost("one", told.append), recipe_site.site)
    assert "# The migrations between the two releases are reversed here." in told


def test_the_plan_of_migrations_is_shown_alone_and_before_they_are_applied(shop: Shop) -> None:
    shop.take("r2", migrations({**FIRST, "0002_more": MAKE.format("More")}))
    assert "Create model More" in shop.recipe_site.run("show_migrations")
    assert shop.applied == ["0001_first"]
    printed = shop.recipe_site.run("migrate")
    assert printed.index("Create model More") < printed.index("Applying shop.0002_more")
