"""Code, environments and releases on a server: nothing half-made is ever used."""

import io
import os
import re
import tarfile
from pathlib import Path

import pytest

from deploy_manager.exceptions import CommandFailed, RecipeError
from deploy_manager.packages.pins import pinned_in
from deploy_manager.requirements.pins import lock_digest
from tests.parts.matrices import few
from tests.recipe_site import CODE, RecipeSite

PREPARE = ("checkout_latest", "make_virtualenv", "install_requirements")
INSTALLERS = pytest.mark.parametrize("installer", few("uv", "pip"))


def names_in(folder: str) -> set[str]:
    return set(os.listdir(folder))


def test_the_code_of_a_commit_becomes_a_release(recipe_site: RecipeSite) -> None:
    recipe_site.run("checkout_latest")
    release = Path(recipe_site.site.release_path)
    assert (release / "assets/shop.css").read_text() == CODE["assets/shop.css"]
    assert (release / ".complete").exists()
    assert not Path(recipe_site.site.current_path).exists()


def test_checking_out_twice_does_no_harm(recipe_site: RecipeSite) -> None:
    recipe_site.run("checkout_latest")
    assert "is already here" in recipe_site.run("checkout_latest")


def test_a_checkout_that_was_broken_off_is_made_anew(recipe_site: RecipeSite) -> None:
    half = Path(f"{recipe_site.site.release_path}.part")
    half.mkdir(parents=True)
    (half / "left.txt").touch()
    recipe_site.run("checkout_latest")
    assert not half.exists()
    assert not (Path(recipe_site.site.release_path) / "left.txt").exists()


def test_variables_are_readable_by_the_account_alone_and_nothing_in_them_runs(
    recipe_site: RecipeSite, tmp_path: Path
) -> None:
    recipe_site.use(variables={"MOTTO": f"it's $(touch {tmp_path}/ran)"})
    recipe_site.run("checkout_latest")
    file = recipe_site.site.variables_path
    printed = recipe_site.host.run(f'. {file} && printf "%s|%s" "$MOTTO" "$DEPLOY_RELEASE"')
    assert printed.stdout == f"it's $(touch {tmp_path}/ran)|r1"
    assert not (tmp_path / "ran").exists()
    assert os.stat(file).st_mode & 0o777 == 0o600


def test_a_shared_folder_outlives_releases(recipe_site: RecipeSite) -> None:
    recipe_site.use(shared=("media/uploads",))
    recipe_site.new_release("r1", {**CODE, "media/uploads/first.txt": "from the code"})
    recipe_site.run("checkout_latest")
    Path(recipe_site.site.release_path, "media/uploads/mine.txt").write_text("uploaded")
    recipe_site.new_release("r2", {**CODE, "media/uploads/first.txt": "other"})
    recipe_site.run("checkout_latest")
    uploads = Path(recipe_site.site.release_path, "media/uploads")
    assert (uploads / "mine.txt").read_text() == "uploaded"
    assert (uploads / "first.txt").read_text() == "from the code"


def evil_archive(path: Path, name: str, kind: bytes, target: str) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, target
        tar.addfile(member, io.BytesIO())
    return path


@pytest.mark.parametrize(
    ("name", "kind", "target"),
    [
        ("../outside.txt", tarfile.REGTYPE, ""),
        ("/tmp/outside.txt", tarfile.REGTYPE, ""),
        ("link", tarfile.SYMTYPE, "../../.."),
        ("link", tarfile.SYMTYPE, "/etc/passwd"),
        ("hard", tarfile.LNKTYPE, "/etc/passwd"),
        ("device", tarfile.CHRTYPE, ""),
        ("pipe", tarfile.FIFOTYPE, ""),
    ],
)
def test_nothing_of_an_archive_gets_out_of_the_release(
    recipe_site: RecipeSite, tmp_path: Path, name: str, kind: bytes, target: str
) -> None:
    recipe_site.use(archive=evil_archive(tmp_path / "evil.tar.gz", name, kind, target))
    with pytest.raises(CommandFailed):
        recipe_site.run("checkout_latest")
    assert not Path(recipe_site.site.release_path).exists()
    assert not Path(recipe_site.site.releases_path, "outside.txt").exists()


def test_a_shared_file_outlives_releases_and_is_private(recipe_site: RecipeSite) -> None:
    recipe_site.use(shared=(".env",))
    recipe_site.new_release("r1", {**CODE, ".env": "COLOUR=red"})
    recipe_site.run("checkout_latest")
    kept = Path(recipe_site.site.shared_path, ".env")
    assert (kept.read_text(), kept.stat().st_mode & 0o777) == ("COLOUR=red", 0o600)

    kept.write_text("COLOUR=blue")
    recipe_site.new_release("r2", {**CODE, ".env": "COLOUR=green"})
    recipe_site.run("checkout_latest")
    assert Path(recipe_site.site.release_path, ".env").read_text() == "COLOUR=blue"


def test_a_shared_file_that_is_nowhere_is_asked_for_not_made_as_a_folder(
    recipe_site: RecipeSite,
) -> None:
    recipe_site.use(shared=(".env",))
    recipe_site.new_release("r1", CODE)
    with pytest.raises(CommandFailed, match=r"There is no .*/shared/.env, .*: put it there first"):
        recipe_site.run("checkout_latest")
    kept = Path(recipe_site.site.shared_path, ".env")
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("COLOUR=red")
    recipe_site.run("checkout_latest")
    assert Path(recipe_site.site.release_path, ".env").read_text() == "COLOUR=red"


def test_pins_are_installed_exactly_and_shared_by_releases(recipe_site: RecipeSite) -> None:
    recipe_site.run(*PREPARE)
    shown = recipe_site.host.run(
        [recipe_site.site.python_path, "-c", "import asgiref, sqlparse; print(asgiref.__version__)"]
    )
    assert shown.stdout.strip() == "3.8.1"
    recipe_site.new_release("r2", CODE)
    assert "already installed" in recipe_site.run(*PREPARE)
    assert len(names_in(recipe_site.site.venvs_path)) == 1


@INSTALLERS
def test_an_installation_that_fails_is_never_taken_for_whole(
    recipe_site: RecipeSite, small_lock: str, installer: str
) -> None:
    recipe_site.use(installer=installer)
    good = recipe_site.site.lock_digest
    recipe_site.use(lock=re.sub("sha256:.{8}", "sha256:00000000", small_lock))
    with pytest.raises(CommandFailed):
        recipe_site.run(*PREPARE)
    with pytest.raises(RecipeError, match="environment of release r1 is not complete"):
        recipe_site.run("activate")
    recipe_site.use(lock=small_lock, lock_digest=good)
    recipe_site.run(*PREPARE, "activate")
    assert os.readlink(recipe_site.site.current_path) == "releases/r1"


@INSTALLERS
def test_pins_that_do_not_fit_together_are_refused(recipe_site: RecipeSite, installer: str) -> None:
    recipe_site.use(installer=installer)
    lock = "django-appconf==1.1.0\n"
    recipe_site.use(lock=lock, lock_digest=lock_digest(lock))
    with pytest.raises(CommandFailed, match="django"):
        recipe_site.run(*PREPARE)


def test_uv_fills_an_environment_too(recipe_site: RecipeSite) -> None:
    recipe_site.use(installer="uv")
    recipe_site.run(*PREPARE, "activate")
    recipe_site.host.run([recipe_site.site.python_path, "-c", "import sqlparse"])


def test_a_release_that_is_not_whole_is_not_activated(recipe_site: RecipeSite) -> None:
    with pytest.raises(RecipeError, match="code of release r1 is not complete"):
        recipe_site.run("activate")
    assert not os.path.lexists(recipe_site.site.current_path)


def test_the_project_is_checked_migrated_and_its_static_files_collected(
    recipe_site: RecipeSite, django_lock: str, tmp_path: Path
) -> None:
    recipe_site.use(lock=django_lock, pins=pinned_in(django_lock), shared=("shared",))
    recipe_site.use(lock_digest=lock_digest(django_lock), installer="uv")
    recipe_site.run(*PREPARE, "check", "migrate")
    assert (tmp_path / "site/shared/shared/db.sqlite3").exists()
    said = recipe_site.run("collect_static")
    assert said.splitlines() == ["No static files were collected: the project has no STATIC_ROOT."]
    recipe_site.use(variables={"STATIC_ROOT": str(tmp_path / "collected")})
    recipe_site.new_release("r2", CODE)
    assert "1 static file copied" in recipe_site.run(*PREPARE, "collect_static")
    assert (tmp_path / "collected/shop.css").exists()


def test_the_check_names_a_database_that_stays_behind(
    recipe_site: RecipeSite, django_lock: str, tmp_path: Path
) -> None:
    recipe_site.use(lock=django_lock, pins=pinned_in(django_lock), shared=("shared",))
    recipe_site.use(lock_digest=lock_digest(django_lock), installer="uv")
    assert ".sqlite3" not in recipe_site.run(*PREPARE, "check", "migrate", "activate")
    first = Path(recipe_site.site.release_path)
    (first / "shop").mkdir()
    for name in ("it's here.sqlite3", "shop/db.sqlite3", "kept.sqlite3"):
        (first / name).touch()
    recipe_site.new_release("r2", CODE | {"kept.sqlite3": ""})
    said = recipe_site.run(*PREPARE, "check")
    assert "has it's here.sqlite3, and the new one will not" in said
    assert "has shop/db.sqlite3, and" in said
    assert "kept" not in said
    assert "shared/" not in said


def test_translations_are_compiled_and_broken_ones_are_refused(
    recipe_site: RecipeSite, django_lock: str
) -> None:
    recipe_site.use(lock=django_lock, pins=pinned_in(django_lock))
    recipe_site.use(lock_digest=lock_digest(django_lock), installer="uv")
    file = "shop/locale/fr/LC_MESSAGES/django.po"
    text = 'msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8\\n"\n'
    recipe_site.new_release("r1", {**CODE, file: text})

    recipe_site.run(*PREPARE, "compile_messages")

    assert Path(recipe_site.site.release_path, file).with_suffix(".mo").exists()
    recipe_site.new_release("r2", {**CODE, file: 'msgid "'})
    with pytest.raises(CommandFailed):
        recipe_site.run(*PREPARE, "compile_messages")


def test_a_ping_changes_nothing(recipe_site: RecipeSite) -> None:
    assert "Python 3" in recipe_site.run("ping")
    assert not Path(recipe_site.site.deploy_path).exists()
