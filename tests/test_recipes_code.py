"""What an archive, a shared folder or a full disk does to a release: no harm."""

import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from deploy_manager.exceptions import CommandFailed
from tests.recipe_site import CODE, RecipeSite, make_archive


def uploads_of(recipe_site: RecipeSite) -> Path:
    return Path(recipe_site.site.shared_path, "media/uploads")


@pytest.mark.parametrize("shared", [("media", "media/uploads"), ("media/uploads", "media")])
def test_a_shared_folder_in_another_loses_nothing(
    recipe_site: RecipeSite, shared: tuple[str, ...]
) -> None:
    recipe_site.use(shared=("media",))
    recipe_site.run("checkout_latest")
    uploads_of(recipe_site).mkdir()
    (uploads_of(recipe_site) / "precious.txt").touch()

    recipe_site.use(shared=shared)
    recipe_site.new_release("r2", CODE)
    recipe_site.run("checkout_latest")

    assert Path(recipe_site.site.release_path, "media/uploads/precious.txt").exists()


def test_a_shared_folder_loses_nothing_to_the_making_of_another(recipe_site: RecipeSite) -> None:
    recipe_site.use(shared=("media.part",))
    recipe_site.run("checkout_latest")
    precious = Path(recipe_site.site.shared_path, "media.part/precious.txt")
    precious.touch()

    recipe_site.use(shared=("media", "media.part"))
    recipe_site.new_release("r2", CODE)
    recipe_site.run("checkout_latest")

    assert precious.exists()


def test_shared_folders_in_one_another_are_made(recipe_site: RecipeSite) -> None:
    recipe_site.use(shared=("media", "media/uploads"))
    recipe_site.run("checkout_latest")

    assert Path(recipe_site.site.release_path, "media/uploads").is_dir()


def test_a_shared_folder_behind_a_link_to_another_loses_nothing(
    recipe_site: RecipeSite, tmp_path: Path
) -> None:
    recipe_site.use(shared=("media/uploads",))
    recipe_site.run("checkout_latest")
    (uploads_of(recipe_site) / "precious.txt").touch()
    with tarfile.open(tmp_path / "linked.tar.gz", "w:gz") as tar:
        link = tarfile.TarInfo("files")
        link.type, link.linkname = tarfile.SYMTYPE, "media"
        tar.addfile(link)

    recipe_site.use(
        release="r2", archive=tmp_path / "linked.tar.gz", shared=("media", "files/uploads")
    )
    with pytest.raises(CommandFailed, match="files/uploads lies behind a link"):
        recipe_site.run("checkout_latest")

    assert (uploads_of(recipe_site) / "precious.txt").exists()


def test_first_content_that_was_half_copied_is_copied_again(recipe_site: RecipeSite) -> None:
    half = Path(recipe_site.site.shared_path, "assets~")
    half.mkdir(parents=True)
    recipe_site.use(shared=("assets",))

    recipe_site.run("checkout_latest")

    assert Path(recipe_site.site.shared_path, "assets/shop.css").exists()
    assert not half.exists()


def test_more_code_than_allowed_is_refused(recipe_site: RecipeSite, settings: Settings) -> None:
    settings.DEPLOY_MANAGER = {**settings.DEPLOY_MANAGER, "MAX_ARCHIVE_BYTES": 100_000}
    recipe_site.new_release("r1", {"zeros.txt": "0" * 100_000})

    with pytest.raises(CommandFailed, match=r"more than 100,000 bytes.*MAX_ARCHIVE_BYTES"):
        recipe_site.run("checkout_latest")


def cut_off(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def spoil(path: Path) -> None:
    path.write_bytes(b"no archive")


def link_through_a_link(path: Path) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for name, target in (("out", "../../.."), ("./out/in", "x")):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            tar.addfile(link)


@pytest.mark.parametrize("harm", [cut_off, spoil, link_through_a_link])
def test_a_harmed_archive_is_reported_in_words_and_leaves_nothing(
    recipe_site: RecipeSite, harm: Callable[[Path], None], tmp_path: Path
) -> None:
    archive = make_archive(tmp_path / "harmed.tar.gz", CODE)
    harm(archive)
    recipe_site.use(archive=archive)

    with pytest.raises(CommandFailed) as caught:
        recipe_site.run("checkout_latest")

    assert "Traceback" not in str(caught.value)
    assert os.listdir(recipe_site.site.releases_path) == []
    assert not list(Path(recipe_site.site.tools_path).glob("*.tar.gz"))


def test_a_release_that_is_half_there_is_made_anew(recipe_site: RecipeSite) -> None:
    half = Path(recipe_site.site.release_path)
    half.mkdir(parents=True)
    (half / "left.txt").touch()

    recipe_site.run("checkout_latest")

    assert not (half / "left.txt").exists()
    assert (half / ".complete").exists()
