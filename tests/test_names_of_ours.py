"""What a commit has under our names, or a row and a server name, leads to nothing else."""

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy_manager.deployments.host_work import MARK_OF_A_RELEASE
from deploy_manager.exceptions import CommandFailed
from deploy_manager.recipes.links import point
from tests.recipe_site import CODE, RecipeSite, make_recipe_site

SECRET = "secret-word"


@pytest.fixture
def bare_site(tmp_path: Path, tools_cache: Path) -> RecipeSite:
    made = make_recipe_site(tmp_path, "", tools_cache)
    made.use(variables={"TOKEN": SECRET})
    return made


def track(site: RecipeSite, *members: tuple[str, str]) -> None:
    """Have a commit with files, folders (name/) and links (name -> target) besides its code."""
    path = site.folder / "r1.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, text in [*CODE.items(), ("static/index.css", "x"), *members]:
            member = tarfile.TarInfo(name.rstrip("/"))
            if text.startswith("-> "):
                member.type, member.linkname = tarfile.SYMTYPE, text[3:]
                tar.addfile(member)
            elif name.endswith("/"):
                member.type = tarfile.DIRTYPE
                tar.addfile(member)
            else:
                member.size = len(text)
                tar.addfile(member, io.BytesIO(text.encode()))
    site.use(archive=path)


TRACKED = {
    "a file of variables": [(".deploy.env", "export A=1\n")],
    "a link to what is served": [(".deploy.env", "-> static/index.css")],
    "a link to what will be": [(".deploy.env", "-> static/new.css")],
    "a folder of variables": [(".deploy.env/", ""), (".deploy.env/x", "")],
    "a mark": [(".complete", "")],
    "a mark that is a folder": [(".complete/", ""), (".complete/x", "")],
    "a mark that is a link": [(".complete", "-> static/index.css")],
    "an environment": [("venv/", ""), ("venv/bin/python", "evil"), ("venv/.complete", "")],
    "a link to one": [("venv", "-> static")],
    "a link beside one": [("venv.new", "-> static")],
    "a folder beside one": [("venv.new/", ""), ("venv.new/.complete", "")],
    "a file where one comes": [("venv", "x")],
    "a folder like ours": [(".deploy/", ""), (".deploy/environment/r1", "export TOKEN=evil\n")],
}


@pytest.mark.parametrize("members", TRACKED.values(), ids=TRACKED)
def test_what_a_commit_has_under_our_names_changes_nothing(
    bare_site: RecipeSite, members: list[tuple[str, str]]
) -> None:
    track(bare_site, *members)
    bare_site.run("checkout_latest")
    site = bare_site.site
    release = Path(site.release_path)
    point(bare_site.host, f"{release}/venv", "../../venvs/v1")

    holding = [path for path in Path(site.deploy_path).rglob("*") if _holds_secret(path)]
    assert holding == [Path(site.variables_path)]
    assert os.stat(holding[0]).st_mode & 0o777 == 0o600
    assert (release / "static/index.css").read_text() == "x"
    mark = release / ".complete"
    assert mark.is_file()
    assert not mark.is_symlink()
    assert os.readlink(release / "venv") == "../../venvs/v1"
    assert not (release / "venv.new").exists()
    said = bare_site.host.run(f'{site.enter_release()} && echo "$TOKEN $DEPLOY_RELEASE"')
    assert said.stdout == f"{SECRET} r1\n"


def _holds_secret(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and SECRET.encode() in path.read_bytes()


def test_a_release_made_before_has_its_variables_in_it(bare_site: RecipeSite) -> None:
    bare_site.run("checkout_latest")
    site = bare_site.site
    outside = Path(site.variables_path)
    outside.rename(Path(site.release_path, ".deploy.env"))
    Path(site.current_path).symlink_to(f"releases/{site.release}")
    bare_site.host.run(f'{site.enter_release()} && test "$TOKEN" = {SECRET}')
    bare_site.use(release="")
    bare_site.host.run(f'{bare_site.site.enter_release()} && test "$TOKEN" = {SECRET}')


def test_the_release_that_serves_has_its_own_variables(bare_site: RecipeSite) -> None:
    bare_site.run("checkout_latest")
    bare_site.new_release("r2", CODE)
    bare_site.use(variables={"TOKEN": "other"})
    bare_site.run("checkout_latest")
    Path(bare_site.site.current_path).symlink_to("releases/r1")
    bare_site.use(release="")
    said = bare_site.host.run(f'{bare_site.site.enter_release()} && echo "$TOKEN $DEPLOY_RELEASE"')
    assert said.stdout == f"{SECRET} r1\n"


@pytest.mark.parametrize(
    "folder", ["..", ".", "", "/etc", "a/../..", "../releases", "venv", "venv/x", ".complete", "a/"]
)
def test_no_folder_is_shared_that_is_ours_or_outside(bare_site: RecipeSite, folder: str) -> None:
    bare_site.run("checkout_latest")
    bare_site.new_release("r2", CODE)
    bare_site.use(shared=(folder,))
    with pytest.raises(CommandFailed, match="can be shared"):
        bare_site.run("checkout_latest")
    assert Path(bare_site.site.releases_path, "r1", "manage.py").exists()
    assert not Path(bare_site.site.release_path).exists()


def _releases_are_a_link(top: Path) -> None:
    (top / "releases").rename(top.parent / "elsewhere")
    (top / "releases").symlink_to(top.parent / "elsewhere")


def _environments_are_a_link(top: Path) -> None:
    (top / "venvs").rename(top.parent / "elsewhere")
    (top / "venvs").symlink_to(top.parent / "elsewhere")


def _a_link_among_them(top: Path) -> None:
    for folder in ("releases", "venvs"):
        outside = top.parent / f"outside-{folder}"
        outside.mkdir()
        (outside / "keep.txt").touch()
        (top / folder / "r0").symlink_to(outside)


@pytest.mark.parametrize(
    "change", [_releases_are_a_link, _environments_are_a_link, _a_link_among_them]
)
def test_cleaning_up_follows_no_link(bare_site: RecipeSite, change: Callable[[Path], None]) -> None:
    top = _lived_in(bare_site)
    change(top)
    behind = sorted(top.parent.glob("elsewhere/*")) + sorted(top.parent.glob("outside-*/*"))
    bare_site.run("clean_up")
    assert behind
    assert all(path.exists() for path in behind)


@pytest.mark.parametrize("target", ["..", "/", "../elsewhere", "venvs/v1", "releases", "nowhere"])
def test_nothing_goes_where_something_else_serves(bare_site: RecipeSite, target: str) -> None:
    top = _lived_in(bare_site)
    (top.parent / "elsewhere").mkdir()
    (top / "current").symlink_to(target)
    with pytest.raises(CommandFailed, match="nothing was removed"):
        bare_site.run("clean_up")
    assert len(list((top / "releases").iterdir())) == len(list((top / "venvs").iterdir())) == 4


def test_an_environment_that_serves_stays_wherever_its_release_is(bare_site: RecipeSite) -> None:
    top = _lived_in(bare_site)
    (top / "releases/r1").rename(top / "moved")
    (top / "releases/r1").symlink_to(top / "moved")
    (top / "current").symlink_to("releases/r4")
    bare_site.run("clean_up")
    assert (top / "venvs/v4").exists()
    assert (top / "moved").exists()


def test_variables_go_with_their_release(bare_site: RecipeSite) -> None:
    top = _lived_in(bare_site)
    folder = top / ".deploy/environment"
    folder.mkdir(parents=True)
    for name in ("r1", "r3", "r4", "gone"):
        (folder / name).touch()
    bare_site.run("clean_up")
    assert {path.name for path in folder.iterdir()} == {"r3", "r4"}


def _lived_in(site: RecipeSite) -> Path:
    """Four whole releases with an environment each, of which two may stay."""
    top = Path(site.site.deploy_path)
    for number in range(1, 5):
        for path in (top / f"releases/r{number}", top / f"venvs/v{number}"):
            path.mkdir(parents=True)
            (path / ".complete").touch()
        (top / f"releases/r{number}/venv").symlink_to(f"../../venvs/v{number}")
    site.use(release="", keep_releases=2)
    return top


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("releases/r1/.complete", "r1"),
        ("releases/20261128-101500-000000-abcdef12/.complete", "20261128-101500-000000-abcdef12"),
        ("releases/r1.part/.complete", ""),
        ("releases/../.complete", ""),
        ("releases/a b/.complete", ""),
        ("releases/\x1b[2J/.complete", ""),
        ("half of a name", ""),
        ("releases/" + "x" * 200 + "/.complete", ""),
        ("", ""),
    ],
)
def test_a_server_shows_names_of_releases_and_nothing_else(line: str, name: str) -> None:
    found = MARK_OF_A_RELEASE.fullmatch(line)
    assert (found[1] if found else "") == name
