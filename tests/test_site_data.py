"""What a site keeps lies outside of its releases, or nothing of a release is activated."""

import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from deploy_manager.exceptions import CommandFailed
from tests.parts.matrices import few
from tests.recipe_site import CODE, SETTINGS, RecipeSite
from tests.test_recipes_rollback import FIRST, MAKE, migrations

STARTED = """
DATABASES["default"]["NAME"] = BASE / "db.sqlite3"
"""
UPLOADS = STARTED + 'MEDIA_ROOT = BASE / "media"\n'


def take(site: RecipeSite, lines: str, name: str = "r1", **files: str) -> RecipeSite:
    """Unpack a release with these lines added to its settings, and with more files."""
    site.take(name, {**CODE, "shop_settings.py": SETTINGS + lines, **files})
    return site


def refusal(site: RecipeSite) -> str:
    with pytest.raises(CommandFailed) as refused:
        site.run("check")
    return str(refused.value)


def test_a_database_and_uploads_beside_the_code_are_refused_with_what_to_enter(
    recipe_site: RecipeSite,
) -> None:
    said = refusal(take(recipe_site, UPLOADS))
    assert "DATABASES['default']: " in said
    assert "MEDIA_ROOT: " in said
    assert 'Add "db.sqlite3", "media" to the environment\'s “shared folders and files”' in said


def test_what_is_entered_is_enough(recipe_site: RecipeSite) -> None:
    recipe_site.use(shared=("db.sqlite3", "media"))
    site = take(recipe_site, UPLOADS)
    site.run("check", "migrate", "activate")
    shared = Path(site.site.shared_path)
    assert (shared / "db.sqlite3").stat().st_size > 0
    assert (shared / "db.sqlite3").stat().st_mode & 0o777 == 0o600
    assert (shared / "media").is_dir()
    take(recipe_site, UPLOADS, "r2").run("check", "migrate")


@pytest.mark.parametrize(
    "lines",
    few(
        'DATABASES["default"]["NAME"] = ":memory:"',
        'DATABASES["default"]["NAME"] = "file:memory?mode=memory&cache=shared"',
        'DATABASES["default"]["NAME"] = f"file:{BASE}/places.sqlite3?mode=ro"',
        'DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "shop"}}',
        'DATABASES["default"]["NAME"] = "/var/lib/shop/db.sqlite3"\nMEDIA_ROOT = "/srv/media"',
        'DATABASES["default"]["NAME"] = ""\nMEDIA_ROOT = ""',
        first=3,
    ),
)
def test_what_lies_elsewhere_or_is_only_read_is_no_reason(
    recipe_site: RecipeSite, lines: str
) -> None:
    take(recipe_site, lines).run("check")


@pytest.mark.parametrize(
    ("lines", "path"),
    few(
        ('MEDIA_ROOT = "uploads"', "uploads"),
        ('MEDIA_ROOT = BASE.parent.parent / "current/uploads"', "uploads"),
        (
            'from django.conf.global_settings import STORAGES\nSTORAGES = {**STORAGES, "private": {'
            '"BACKEND": "django.core.files.storage.FileSystemStorage",'
            '"OPTIONS": {"location": BASE / "private"}}}',
            "private",
        ),
        ('DATABASES["default"]["NAME"] = f"file:{BASE}/a.db?timeout=3"', "a.db"),
        first=2,
    ),
)
def test_whatever_way_a_path_into_the_release_is_written(
    recipe_site: RecipeSite, lines: str, path: str
) -> None:
    outside = 'DATABASES["default"]["NAME"] = ":memory:"\n'
    assert f'Add "{path}" to' in refusal(take(recipe_site, outside + lines))


@pytest.mark.long
def test_media_root_does_not_count_where_files_are_stored_elsewhere(
    recipe_site: RecipeSite,
) -> None:
    recipe_site.use(shared=("shared",))
    elsewhere = 'STORAGES = {"default": {"BACKEND": "elsewhere.Storage"}, "staticfiles": {"BACKEND"'
    elsewhere += ': "django.contrib.staticfiles.storage.StaticFilesStorage"}}\n'
    elsewhere += 'MEDIA_ROOT = BASE / "media"\n'
    storage = "from django.core.files.storage import Storage as Base\nclass Storage(Base): pass\n"
    take(recipe_site, elsewhere, **{"elsewhere.py": storage}).run("check")


def test_logs_and_caches_are_said_and_do_not_stop_it(recipe_site: RecipeSite) -> None:
    recipe_site.use(shared=("shared",))
    settings = """
LOGGING = {"version": 1, "handlers": {"file": {
    "class": "logging.FileHandler", "filename": BASE / "site.log", "delay": True}}}
CACHES = {"default": {"BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
    "LOCATION": BASE / "cache"}, "tmp": {
    "BACKEND": "django.core.cache.backends.filebased.FileBasedCache", "LOCATION": "/tmp/cache"}}
CELERY_BEAT_SCHEDULE_FILENAME = "celerybeat-schedule"
"""
    said = take(recipe_site, settings).run("check")
    assert "LOGGING, handler 'file', is " in said
    assert "CACHES['default'] is " in said
    assert "CELERY_BEAT_SCHEDULE_FILENAME is " in said
    assert "/tmp/cache" not in said


def test_what_the_serving_release_holds_is_moved_by_a_person_and_nothing_is_lost(
    recipe_site: RecipeSite,
) -> None:
    site = take(recipe_site, UPLOADS)
    site.run("migrate", "activate")
    first = Path(site.site.release_path)
    (first / "media").mkdir()
    (first / "media/cat.jpg").write_text("uploaded")
    site.use(shared=("db.sqlite3", "media"))
    with pytest.raises(CommandFailed) as refused:
        take(recipe_site, UPLOADS, "r2")
    said = str(refused.value)
    assert "put up the maintenance page" in said
    commands = [line for line in said.splitlines() if line.strip().startswith("mkdir")]
    assert len(commands) == 2
    assert not Path(site.site.shared_path, "media").exists()

    for command in commands:
        subprocess.run(["sh", "-c", command], check=True)
    second = take(recipe_site, UPLOADS, "r2")
    second.run("check")
    release = Path(second.site.release_path)
    assert (release / "media/cat.jpg").read_text() == "uploaded"
    for folder in (first, release):
        with closing(sqlite3.connect(folder / "db.sqlite3")) as database:
            assert database.execute("SELECT count(*) FROM django_migrations").fetchone()[0] > 0


def test_files_of_the_serving_release_that_the_commit_has_too_are_no_loss(
    recipe_site: RecipeSite,
) -> None:
    settings = 'DATABASES["default"]["NAME"] = ":memory:"\n'
    take(recipe_site, settings, **{"media/first": "sample"}).run("activate")
    recipe_site.use(shared=("media",))
    site = take(recipe_site, settings, "r2", **{"media/first": "sample", "media/second": "more"})
    assert Path(site.site.shared_path, "media/second").exists()


@pytest.mark.long
def test_a_file_shared_under_a_name_that_does_not_tell_so_is_not_left_a_folder(
    recipe_site: RecipeSite,
) -> None:
    recipe_site.use(shared=("database",))
    site = take(recipe_site, 'DATABASES["default"]["NAME"] = BASE / "database"')
    assert "which is a folder: remove it, and make an empty file" in refusal(site)


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_sqlite_keeps_its_other_files_beside_the_shared_one_not_beside_its_link(
    tmp_path: Path, mode: str
) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/db.sqlite3").touch()
    for name in ("r1", "r2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "db.sqlite3").symlink_to(tmp_path / "shared/db.sqlite3")
    one = sqlite3.connect(tmp_path / "r1/db.sqlite3", isolation_level=None)
    two = sqlite3.connect(tmp_path / "r2/db.sqlite3", isolation_level=None)
    with closing(one), closing(two):
        one.execute(f"PRAGMA journal_mode={mode}")
        one.execute("CREATE TABLE guests (name TEXT)")
        one.execute("BEGIN IMMEDIATE")
        one.execute("INSERT INTO guests VALUES ('me')")
        beside = {path.name for path in (tmp_path / "shared").iterdir()} - {"db.sqlite3"}
        assert beside == (
            {"db.sqlite3-wal", "db.sqlite3-shm"} if mode == "WAL" else {"db.sqlite3-journal"}
        )
        assert [path.name for path in (tmp_path / "r1").iterdir()] == ["db.sqlite3"]
        one.execute("COMMIT")
        assert two.execute("SELECT name FROM guests").fetchall() == [("me",)]


SECOND = """
SHARED = BASE / "shared"
DATABASES["reports"] = {"ENGINE": SQLITE, "NAME": SHARED / "reports.sqlite3"}
"""
ROUTER = SECOND + 'DATABASE_ROUTERS = ["router.Router"]\n'
NEVER = "class Router:\n    def allow_migrate(self, db, app_label, **hints):\n        {}\n"


@pytest.fixture
def two_databases(recipe_site: RecipeSite) -> RecipeSite:
    recipe_site.use(shared=("shared",))
    return recipe_site


def test_which_of_several_databases_to_migrate_is_asked_before_anything_is_served(
    two_databases: RecipeSite,
) -> None:
    said = refusal(take(two_databases, SECOND))
    assert "more than one database that could be migrated: default, reports" in said
    assert "“databases to migrate”" in said
    two_databases.use(migrates=False)
    two_databases.run("check")


def test_those_that_are_named_are_migrated_each_shown_by_its_name(
    two_databases: RecipeSite,
) -> None:
    site = take(two_databases, SECOND)
    site.use(migrate_databases=("default", "reports"))
    said = site.run("check", "migrate")
    assert "migrate --plan --database reports" in said
    for name in ("db", "reports"):
        with closing(sqlite3.connect(f"{site.site.shared_path}/shared/{name}.sqlite3")) as database:
            assert database.execute("SELECT count(*) FROM django_migrations").fetchone()[0] > 0


def test_a_rollback_reverses_them_all_the_last_one_first(two_databases: RecipeSite) -> None:
    lines, package = SECOND + 'INSTALLED_APPS.append("shop")\n', {"shop/__init__.py": ""}
    site = take(two_databases, lines, **package, **migrations(FIRST))
    site.use(migrate_databases=("default", "reports"))
    site.run("migrate", "activate")
    second = migrations(FIRST | {"0002_second": MAKE.format("Second")})
    take(site, lines, "r2", **package, **second).run("migrate", "activate")
    site.use(release="r1")
    said = site.run("reverse_migrations")
    assert said.index("--database reports shop 0001_first") < said.rindex("shop 0001_first")
    for name in ("db", "reports"):
        with closing(sqlite3.connect(f"{site.site.shared_path}/shared/{name}.sqlite3")) as database:
            rows = database.execute("SELECT name FROM django_migrations WHERE app = 'shop'")
            assert rows.fetchall() == [("0001_first",)]


def test_one_that_is_left_out_on_purpose_is_said_and_not_touched(two_databases: RecipeSite) -> None:
    site = take(two_databases, SECOND)
    site.use(migrate_databases=("default",))
    said = site.run("check", "migrate")
    assert "Not migrated, as the environment says: reports." in said
    assert not Path(site.site.shared_path, "shared/reports.sqlite3").exists()


@pytest.mark.parametrize(
    ("lines", "router"),
    [
        (ROUTER, NEVER.format('return db == "default"')),
        (SECOND + 'DATABASES["reports"]["TEST"] = {"MIRROR": "default"}', ""),
    ],
    ids=["a router lets nothing in", "a mirror"],
)
def test_a_database_that_takes_no_migrations_needs_no_word(
    two_databases: RecipeSite, lines: str, router: str
) -> None:
    take(two_databases, lines, **{"router.py": router}).run("check")


def test_a_name_that_the_settings_lack_is_refused(two_databases: RecipeSite) -> None:
    site = take(two_databases, SECOND)
    site.use(migrate_databases=("default", "raports"))
    assert "DATABASES has no 'raports', but default, reports" in refusal(site)


@pytest.mark.long
def test_manage_py_may_prepare_what_its_settings_need(recipe_site: RecipeSite) -> None:
    manage = 'import sys; sys.path.insert(0, "src")\n' + CODE["manage.py"]
    files = {"manage.py": manage, "src/where.py": "NAME = ':memory:'"}
    take(recipe_site, 'from where import NAME\nDATABASES["default"]["NAME"] = NAME', **files).run(
        "check"
    )


def test_a_check_that_fails_is_told_in_djangos_words(recipe_site: RecipeSite) -> None:
    site = take(recipe_site, 'STATICFILES_DIRS = "assets"')
    assert "(staticfiles.E001)" in refusal(site)
    assert "(staticfiles.E001)" in site.printed.decode()
