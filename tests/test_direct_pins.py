"""Pins of a commit, or of a file at a URL: read, built once on a builder, recognised on servers."""

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.core.exceptions import ValidationError

from deploy_manager.deployments.orders import site_of
from deploy_manager.deployments.plan import make_plan
from deploy_manager.deployments.run import run
from deploy_manager.drift import is_version, version_of_commit
from deploy_manager.exceptions import CommandFailed, PinError, WheelError
from deploy_manager.models import (
    Environment,
    InstalledPackage,
    LockFile,
    Release,
    Requirement,
    Server,
    State,
)
from deploy_manager.packages.drift import drift
from deploy_manager.packages.inventory import take_inventory
from deploy_manager.packages.pins import pinned_in, pins_of, replace_pins
from deploy_manager.recipes import Phase, Pipeline, add_pipeline
from deploy_manager.recipes.origins import direct_url
from deploy_manager.requirements.exporting import export_pylock, export_requirements
from deploy_manager.requirements.fitting import check_fit
from deploy_manager.requirements.moving import move_pins
from deploy_manager.requirements.patching import patch_pins
from deploy_manager.requirements.pins import lock_digest, lock_text
from deploy_manager.requirements.reach import PinRequest, Reach
from deploy_manager.requirements.reading import read_pins, read_pins_of
from tests.inventory import Inventory, make_inventory
from tests.parts.index import Index
from tests.parts.repository import Repository
from tests.parts.sshd import Sshd
from tests.test_wheels_building import backend
from tests.wheel_site import MakeServer, built_by

COMMIT, HASH = "0123456789abcdef0123456789abcdef01234567", "a" * 64
GIT = f"git+https://host.test/kit.git@{COMMIT}"


@pytest.mark.parametrize(
    ("line", "requirement"),
    [
        (f"Kit @ {GIT}", f"kit @ {GIT}"),
        (f"kit[x] @ {GIT}#egg=kit ; os_name == 'posix'", f'kit[x] @ {GIT} ; os_name == "posix"'),
        (f"{GIT}#egg=kit&subdirectory=lib/kit", f"kit @ {GIT}#subdirectory=lib/kit"),
        (f"kit @ git+ssh://git@host.test/a.git@{COMMIT}",) * 2,
        (f"kit @ git+file:///srv/kit@{COMMIT}",) * 2,
        (
            f"kit @ https://host.test/kit-1.0.tar.gz --hash=sha256:{HASH}",
            f"kit @ https://host.test/kit-1.0.tar.gz#sha256={HASH}",
        ),
        (f"kit @ https://host.test/kit-1.0-py3-none-any.whl#sha256={HASH}",) * 2,
    ],
)
def test_a_commit_and_a_file_with_its_hash_are_pins_and_read_back_the_same(
    line: str, requirement: str
) -> None:
    (pin,) = read_pins(line)
    assert pin.requirement == requirement
    assert pin.version == ("1.0" if "1.0" in line else version_of_commit(COMMIT))
    assert read_pins(lock_text([pin])) == (pin,)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (GIT, "write name @ URL"),
        ("kit @ git+https://host.test/kit.git", "write all 40 digits"),
        ("kit @ git+https://host.test/kit.git@main", "A branch or a tag may move"),
        (f"kit @ git+https://host.test/kit.git@{COMMIT[:12]}", "write all 40 digits"),
        (f"-e {GIT}#egg=kit", "Write it without -e"),
        (f"kit @ {GIT} --hash=sha256:{HASH}", "Leave out --hash"),
        (f"kit @ {GIT}#subdirectory=../x", "not a folder of the repository"),
        (f"kit @ git+https://me:s3cret@host.test/kit.git@{COMMIT}", "leave user and password out"),
        (f"kit @ git+https://${{TOKEN}}@host.test/kit.git@{COMMIT}", "leave user and password out"),
        (f"kit @ git+https://host.test/$(id)@{COMMIT}", "characters that no pin may have"),
        (f"kit @ hg+https://host.test/kit@{COMMIT}", "Pin a commit"),
        ("kit @ https://host.test/kit-1.0.tar.gz", "write #sha256="),
        (f"kit @ https://host.test/main.zip#sha256={HASH}", "named as the packaging standards"),
        (f"kit @ https://host.test/boots-1.0.tar.gz#sha256={HASH}", "a wheel or an sdist of kit"),
    ],
)
def test_what_may_change_or_holds_a_secret_is_refused_with_what_to_write(
    line: str, told: str
) -> None:
    with pytest.raises(PinError) as refused:
        read_pins(line)
    assert told in str(refused.value)
    assert "s3cret" not in str(refused.value)


def test_other_pins_keep_their_hashes_beside_a_commit() -> None:
    kit, shop = read_pins(f"kit @ {GIT}\nshop==1.0 --hash=sha256:{HASH}\n")
    assert (kit.hashes, shop.hashes) == ((), (f"sha256:{HASH}",))


def test_one_package_is_pinned_to_one_commit() -> None:
    with pytest.raises(PinError, match="kit is pinned twice"):
        read_pins(f"kit @ {GIT}\nkit==1.0\n")


def test_a_pylock_has_commits_too_and_they_are_exported_again() -> None:
    text = (
        'lock-version = "1.0"\ncreated-by = "people"\n[[packages]]\nname = "kit"\n'
        f'vcs = {{type = "git", url = "https://host.test/kit.git", commit-id = "{COMMIT}"}}\n'
    )
    pins = read_pins_of("pylock.toml", {"pylock.toml": text.encode()}.get)
    assert [pin.requirement for pin in pins] == [f"kit @ {GIT}"]
    with Index() as index:
        exported = export_pylock(pins, index.url)
    assert read_pins_of("pylock.toml", {"pylock.toml": exported.encode()}.get) == pins


def test_a_uv_lock_has_commits_too() -> None:
    files = {
        "pyproject.toml": '[project]\nname = "site"\nversion = "1"\nrequires-python = ">=3.11"\n'
        'dependencies = ["kit"]\n[tool.uv.sources]\n'
        f'kit = {{git = "https://host.test/kit.git", rev = "{COMMIT}"}}\n',
        "uv.lock": f"""version = 1
requires-python = ">=3.11"
[[package]]
name = "kit"
version = "1.3"
source = {{ git = "https://host.test/kit.git?rev={COMMIT}#{COMMIT}" }}
[[package]]
name = "site"
version = "1"
source = {{ virtual = "." }}
dependencies = [{{ name = "kit" }}]
[package.metadata]
requires-dist = [{{ name = "kit", git = "https://host.test/kit.git?rev={COMMIT}" }}]
""",
    }
    pins = read_pins_of("uv.lock", {name: text.encode() for name, text in files.items()}.get)
    assert [pin.requirement for pin in pins] == [f"kit @ {GIT}"]


def test_an_export_says_who_takes_hashes_beside_a_commit() -> None:
    mixed = read_pins(f"kit @ {GIT}\nshop==1.0 --hash=sha256:{HASH}\n")
    assert export_requirements(mixed).startswith("# uv pip install --no-deps -r")


def test_an_upgrade_leaves_a_commit_where_it_is(package_index: Index) -> None:
    for version in ("1.0", "1.1"):
        package_index.add("shop", version, requires=("kit",))
    lock = f"kit @ {GIT}\nshop==1.0\n"
    moved = move_pins(lock, [PinRequest("shop", Reach.LATEST)], index_url=package_index.url)
    assert [(one.name, one.after) for one in moved.moves] == [("shop", "1.1")]
    assert moved.pins[0] == read_pins(lock)[0]
    assert patch_pins(lock, moved.pins).startswith(f"kit @ {GIT}\nshop==1.1")
    with pytest.raises(PinError, match="kit can't be upgraded: it is pinned to a commit"):
        move_pins(lock, [PinRequest("kit", Reach.LATEST)], index_url=package_index.url)


def test_pins_fit_beside_a_commit_that_they_need(package_index: Index) -> None:
    package_index.add("shop", "1.0", requires=("kit>=3",))
    check_fit(read_pins(f"kit @ {GIT}\nshop==1.0\n"), (), package_index.url)
    assert "/simple/kit/" not in package_index.requests


def test_what_was_built_of_a_commit_is_recognised_whatever_its_version() -> None:
    wanted = version_of_commit(COMMIT)
    assert is_version(f"1.3+g{COMMIT}", wanted)
    assert is_version(f"1.3+ours.g{COMMIT}", wanted)
    assert not is_version("1.3", wanted)
    assert not is_version(f"1.3+g{COMMIT[::-1]}", wanted)


def test_a_file_is_noted_with_its_hash() -> None:
    noted = direct_url(f"https://host.test/kit-1.0.tar.gz#sha256={HASH}")
    assert noted == {
        "url": "https://host.test/kit-1.0.tar.gz",
        "archive_info": {"hashes": {"sha256": HASH}},
    }


# On servers


@dataclass(frozen=True)
class Kit:
    """A repository that the builder can read, with the package `brush` in a folder."""

    folder: Path
    commit: str
    builds: Path
    """A file with a line for each build."""

    def pin(self, commit: str = "") -> str:
        return f"brush @ git+file://{self.folder}@{commit or self.commit}#subdirectory=lib"


@pytest.fixture
def kit(offline_sshd: Sshd) -> Kit:
    folder = offline_sshd.new_folder()
    (log := folder / "builds").touch(0o666)
    made = Repository(folder / "kit")
    made.path.mkdir()
    made.git("init", "--quiet", "--initial-branch=main")
    made.commit("Sell", {f"lib/{name}": text for name, text in backend(log).items()})
    commit = made.head
    # git reads no repository of another account.
    subprocess.run(["chown", "-R", "--reference", folder, made.path, log], check=True)
    return Kit(made.path, commit, log)


@pytest.mark.parametrize("installer", ["uv", pytest.param("pip", marks=pytest.mark.long)])
def test_a_commit_is_built_once_and_installed_with_its_hash_on_each_server(
    make_server: MakeServer,
    package_index: Index,
    kit: Kit,
    offline_sshd: Sshd,
    installer: str,
) -> None:
    paint = package_index.add("paint", "2.0")
    lock = f"{kit.pin()}\npaint==2.0 --hash=sha256:{paint.sha256}\n"
    (brush, _paint) = read_pins(lock)
    builder = built_by(offline_sshd.address_for("forge"), "python3")
    site = {
        "lock": lock_text(read_pins(lock)),
        "lock_digest": lock_digest(lock),
        "origins": {"brush": brush.url},
        "pins": pinned_in(lock),  # which are compared with what an inventory reports
        "installer": installer,
    }
    servers = [make_server(package_index, builder=builder, **site) for _ in range(2)]
    for server in servers:
        server.install()
    assert kit.builds.read_text() == "built\n"
    for server in servers:
        venv = f"{server.site.release_path}/venv"
        shipped = server.host.run(["sh", "-c", f"cat {venv}/*shipped*"], check=False).stdout
        assert "--hash=sha256:" in shipped
        assert server.says("import brush; print(brush.WIDTH)") == "3"
        found = server.host.run(["sh", "-c", f"cat {venv}/lib/*/*/brush*/direct_url.json"]).stdout
        assert json.loads(found)["vcs_info"]["commit_id"] == kit.commit


@pytest.mark.parametrize("installer", ["uv", pytest.param("pip", marks=pytest.mark.long)])
def test_a_file_at_a_url_is_installed_by_its_hash(
    make_server: MakeServer, package_index: Index, installer: str
) -> None:
    paint = package_index.add("paint", "2.0")
    boots = package_index.add("boots", "1.0")
    place = f"{package_index.url.removesuffix('simple/')}files/{boots.filename}"
    lock = f"boots @ {place}#sha256={{}}\npaint==2.0 --hash=sha256:{paint.sha256}\n"
    site = {"wheels": "index", "lock_digest": "boots", "installer": installer}
    server = make_server(package_index, lock=lock.format(boots.sha256), **site)
    server.install()
    assert server.says("import boots; print(boots.VERSION)") == "1.0"
    other = make_server(package_index, lock=lock.format(HASH), **site)
    with pytest.raises(CommandFailed):
        other.install()


@pytest.mark.long
def test_the_builder_fetches_a_file_at_a_url_and_proves_its_hash(
    make_server: MakeServer, package_index: Index, offline_sshd: Sshd
) -> None:
    boots = package_index.add("boots", "1.0", as_sdist=False)
    place = f"{package_index.url.removesuffix('simple/')}files/{boots.filename}"
    builder = built_by(offline_sshd.address_for("forge"), "python3")
    lock = f"boots @ {place}#sha256={{}}\n"
    server = make_server(package_index, builder=builder, lock=lock.format(HASH), lock_digest="x")
    with pytest.raises(WheelError, match=r"boots @ .* could not be built on forge"):
        server.install()
    server.install(lock=lock.format(boots.sha256), lock_digest="boots")
    assert server.says("import boots; print(boots.VERSION)") == "1.0"


@pytest.mark.long
def test_a_commit_that_is_not_there_is_said_by_the_builder(
    make_server: MakeServer, package_index: Index, kit: Kit, offline_sshd: Sshd
) -> None:
    lock = f"{kit.pin(COMMIT)}\n"
    builder = built_by(offline_sshd.address_for("forge"), "python3")
    server = make_server(package_index, builder=builder, lock=lock, lock_digest="gone")
    with pytest.raises(WheelError, match=f"brush @ .*{COMMIT}#subdirectory=lib could not be built"):
        server.install()


@pytest.fixture
def shop(repository: Repository, db: None) -> Inventory:
    repository.commit("Pin a commit", {"manage.py": "", "requirements.txt": f"kit @ {GIT}\n"})
    made = make_inventory(repository.path.parent / "sites", str(repository.path))
    made.folder.mkdir()
    made.add_server("one")
    return made


def test_without_a_builder_the_plan_names_what_to_choose(shop: Inventory) -> None:
    (problem,) = make_plan(shop.environment).problems
    assert problem.startswith("kit: pinned to a commit or a file at a URL, of which only a builder")
    forge = Server.objects.create(name="forge", connection=Server.Connection.LOCAL)
    Environment.objects.update(wheels=Environment.Wheels.SHIPPED, builder=forge)
    shop.environment.refresh_from_db()
    plan = make_plan(shop.environment)
    assert plan.problems == ()
    assert plan.pins[0].after == version_of_commit(COMMIT)


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_a_deployed_commit_is_seen_by_the_inventory_and_is_no_drift(
    repository: Repository, package_index: Index, tmp_path: Path, own_recipes: None
) -> None:
    (log := tmp_path / "builds").touch()
    brush = Repository.make(tmp_path / "brush")
    brush.commit("Sell", backend(log))
    pin = f"brush @ git+file://{brush.path}@{brush.head}\n"
    repository.commit("Open", {"manage.py": "", "requirements.txt": pin})
    shop = make_inventory(tmp_path / "sites", str(repository.path))
    shop.folder.mkdir()
    placement = shop.add_server("one")
    forge = Server.objects.create(name="forge", connection=Server.Connection.LOCAL)
    Environment.objects.update(
        wheels=Environment.Wheels.SHIPPED,
        builder=forge,
        installer=Environment.Installer.UV,
        python=sys.executable,
        index_url=package_index.url,
    )
    shop.environment.refresh_from_db()
    prepare = ("checkout_latest", "make_virtualenv", "install_requirements")
    phases = (Phase("prepare", "Prepare", prepare), Phase("activate", "Activate", ("activate",)))
    add_pipeline(Pipeline("play", "Play", phases))
    deployment = shop.request("play")
    run(deployment.pk)
    deployment.refresh_from_db()
    assert (deployment.state, deployment.message) == (State.SUCCEEDED, "")
    assert take_inventory(placement.pk)
    installed = InstalledPackage.objects.get(placement=placement, name="brush").version
    assert installed == f"1.0+g{brush.head}"
    assert shop.environment.requirements.get().url == pin.split()[2]
    assert drift([shop.environment]) == []


def test_a_row_of_a_commit_has_the_version_that_stands_for_it(shop: Inventory) -> None:
    row = Requirement(environment=shop.environment, name="kit", version="1.0", url=GIT)
    with pytest.raises(ValidationError, match=f"enter {re.escape(version_of_commit(COMMIT))}"):
        row.full_clean()
    row.version = version_of_commit(COMMIT)
    row.full_clean()
    row.url = GIT.replace(COMMIT, "main")
    with pytest.raises(ValidationError, match="the 40 digits of a commit"):
        row.full_clean()


def test_recipes_are_told_where_pins_come_from(shop: Inventory) -> None:
    lock = LockFile.objects.of("a" * 64, f"kit @ {GIT}\nshop==1.0\n")
    release = Release.objects.make(shop.environment, "b" * 40, "", lock)
    assert site_of(shop.environment.placements.get(), release).origins == {"kit": GIT}


def test_the_list_of_an_environment_keeps_where_a_pin_comes_from(shop: Inventory) -> None:
    pins = read_pins(f"kit @ {GIT}\nshop==1.0\n")
    replace_pins(shop.environment, pins)
    assert pins_of(shop.environment) == pins
