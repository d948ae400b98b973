"""Static files of all kept releases are served side by side, each release with its own index."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.recipe_site import CODE, SETTINGS, RecipeSite

BACKEND = "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"
HASHED = f"""
STATIC_ROOT = BASE / "collected"
STORAGES = {{"default": {{"BACKEND": "django.core.files.storage.FileSystemStorage"}},
    "staticfiles": {{"BACKEND": "{BACKEND}"}}}}
"""


def collect(
    site: RecipeSite,
    name: str,
    colour: str,
    lines: str = HASHED,
    code: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Prepare a release; return what was said."""
    files = {
        **CODE,
        **code,
        "shop_settings.py": SETTINGS + lines,
        "assets/shop.css": f"a {{ {colour} }}",
    }
    site.take(name, {**files, f"assets/img/{colour}.svg": f"<svg>{colour}</svg>"})
    return site.run("collect_static")


def static(site: RecipeSite) -> Path:
    return Path(site.site.static_path)


def hashed(site: RecipeSite, name: str) -> str:
    """The name of shop.css in a release's own index."""
    index = Path(site.site.releases_path, name, "collected/staticfiles.json")
    return str(json.loads(index.read_text())["paths"]["shop.css"])


def test_hashed_names_stay_as_long_as_their_release_and_other_names_are_the_newest(
    recipe_site: RecipeSite,
) -> None:
    assert "has them, too; new there: 4" in collect(recipe_site, "r1", "red")
    recipe_site.run("activate")
    red = hashed(recipe_site, "r1")
    assert (static(recipe_site) / red).read_text() == "a { red }"

    # Prepared, and not switched yet: a page of another server may ask for the new names.
    collect(recipe_site, "r2", "blue")
    blue = hashed(recipe_site, "r2")
    assert (static(recipe_site) / blue).read_text() == "a { blue }"
    assert (static(recipe_site) / "shop.css").read_text() == "a { red }"

    recipe_site.run("activate")
    assert (static(recipe_site) / "shop.css").read_text() == "a { blue }"
    assert (static(recipe_site) / red).exists()
    assert (static(recipe_site) / "img/red.svg").exists()

    recipe_site.use(release="r1")
    recipe_site.run("activate")
    assert (static(recipe_site) / "shop.css").read_text() == "a { red }"
    assert hashed(recipe_site, "r1") == red
    assert not (static(recipe_site) / "staticfiles.json").exists()

    # r2 serves again, and alone is kept.
    recipe_site.use(release="r2")
    recipe_site.run("activate")
    recipe_site.use(keep_releases=1)
    assert "no release has any more were removed: 3" in recipe_site.run("clean_up")
    assert not (static(recipe_site) / red).exists()
    assert (static(recipe_site) / blue).exists()
    assert os.listdir(static(recipe_site) / "img")


def test_files_are_linked_not_copied_and_everybody_may_read_them(recipe_site: RecipeSite) -> None:
    collect(recipe_site, "r1", "red")
    own = Path(recipe_site.site.release_path, "collected/shop.css")
    assert own.samefile(static(recipe_site) / "shop.css")
    assert static(recipe_site).stat().st_mode & 0o755 == 0o755


def test_what_a_release_before_collected_from_the_same_is_copied(recipe_site: RecipeSite) -> None:
    assert "post-processed" in collect(recipe_site, "r1", "red")
    for name in ("r2", "r3"):
        assert "what it collected was copied" in collect(recipe_site, name, "red")
        assert hashed(recipe_site, name) == hashed(recipe_site, "r1")
    first, third = (
        Path(recipe_site.site.releases_path, name, "collected") for name in ("r1", "r3")
    )
    names = {file.relative_to(first) for file in first.rglob("*")}
    assert names == {file.relative_to(third) for file in third.rglob("*")}
    # What writes into one of them changes no other release.
    assert not (first / "shop.css").samefile(third / "shop.css")


OWN_BACKEND = """
from django.contrib.staticfiles.storage import ManifestStaticFilesStorage
class Own(ManifestStaticFilesStorage):
    pass
"""


INDEX_ELSEWHERE = """
from django.core.files.storage import FileSystemStorage
STORAGES["staticfiles"]["OPTIONS"] = {"manifest_storage": FileSystemStorage(str(BASE))}
"""


@pytest.mark.parametrize(
    ("colour", "lines"),
    [
        ("blue", HASHED),
        ("red", HASHED + "STATIC_URL = '/other/'\n"),
        ("red", HASHED + "STORAGES['staticfiles']['OPTIONS'] = {'file_permissions_mode': 0o600}\n"),
    ],
    ids=["file", "setting", "options of the backend"],
)
def test_what_differs_is_collected_anew(recipe_site: RecipeSite, colour: str, lines: str) -> None:
    collect(recipe_site, "r1", "red")
    assert "post-processed" in collect(recipe_site, "r2", colour, lines)


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (HASHED.replace(BACKEND, "own.Own"), {"own.py": OWN_BACKEND}),
        (HASHED + INDEX_ELSEWHERE, {}),
    ],
    ids=["backend of its own", "index elsewhere"],
)
def test_what_is_not_known_is_collected_anew_each_time(
    recipe_site: RecipeSite, lines: str, code: dict[str, str]
) -> None:
    for name in ("r1", "r2"):
        assert "post-processed" in collect(recipe_site, name, "red", lines, code)


@pytest.mark.parametrize("change", ["write", "remove"])
def test_what_somebody_changed_in_a_release_is_not_taken_over(
    recipe_site: RecipeSite, change: str
) -> None:
    collect(recipe_site, "r1", "red")
    changed = Path(recipe_site.site.release_path, "collected/shop.css")
    changed.write_text("a { pink }") if change == "write" else changed.unlink()
    assert "post-processed" in collect(recipe_site, "r2", "red")
    assert Path(recipe_site.site.release_path, "collected/shop.css").read_text() == "a { red }"


def test_a_folder_of_the_sites_own_is_left_alone(recipe_site: RecipeSite) -> None:
    static(recipe_site).mkdir(parents=True)
    (static(recipe_site) / "mine.txt").write_text("mine")
    assert "has files of somebody else" in collect(recipe_site, "r1", "red")
    recipe_site.run("activate", "clean_up")
    assert os.listdir(static(recipe_site)) == ["mine.txt"]


def test_a_shared_root_is_left_as_it_is_with_a_warning_if_it_has_an_index(
    recipe_site: RecipeSite,
) -> None:
    recipe_site.use(shared=("collected",))
    said = collect(recipe_site, "r1", "red")
    assert "after a rollback the older release reads the newer index" in said
    assert not static(recipe_site).exists()
    plain = 'STATIC_ROOT = BASE / "collected"\n'
    assert "rollback" not in collect(recipe_site, "r2", "blue", plain)
    recipe_site.run("activate", "clean_up")


def test_what_a_link_among_them_leads_to_is_not_published(recipe_site: RecipeSite) -> None:
    recipe_site.use(shared=("secret.txt",))
    Path(recipe_site.site.shared_path).mkdir(parents=True)
    Path(recipe_site.site.shared_path, "secret.txt").write_text("secret")
    collect(recipe_site, "r1", "red")
    collected = Path(recipe_site.site.release_path, "collected")
    (collected / "link.txt").symlink_to("../secret.txt")
    recipe_site.run("activate")
    assert not (static(recipe_site) / "link.txt").exists()


@pytest.mark.long
def test_a_site_that_collects_into_the_common_folder_by_now_keeps_its_files(
    recipe_site: RecipeSite,
) -> None:
    collect(recipe_site, "r1", "red")
    recipe_site.run("activate")
    collect(recipe_site, "r2", "blue", f"STATIC_ROOT = {str(static(recipe_site))!r}\n")
    recipe_site.run("activate", "clean_up")
    assert {"red.svg", "blue.svg"} <= set(os.listdir(static(recipe_site) / "img"))


def test_where_one_release_has_a_folder_and_another_a_file_that_is_said(
    recipe_site: RecipeSite,
) -> None:
    collect(recipe_site, "r1", "red", 'STATIC_ROOT = BASE / "collected"\n')
    Path(recipe_site.site.release_path, "collected/img/red.svg").unlink()
    Path(recipe_site.site.release_path, "collected/img").rmdir()
    Path(recipe_site.site.release_path, "collected/img").write_text("a file")
    assert "one release has a folder there, and another one a file" in recipe_site.run("activate")
