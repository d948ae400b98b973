"""What would fail on the servers is said before any of them is touched."""

import platform
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from platform import python_version

import pytest
from django.test import Client

from deploy_manager.deployments.plan import make_plan
from deploy_manager.deployments.prepare import Prepared, prepare
from deploy_manager.deployments.run import run
from deploy_manager.exceptions import PinError
from deploy_manager.models import (
    Deployment,
    Environment,
    IndexedPackage,
    LockFile,
    Placement,
    Release,
    Server,
    State,
)
from deploy_manager.packages.looking_up import look_up_due
from deploy_manager.packages.targets import reported_by
from deploy_manager.recipes import Phase, Pipeline, add_pipeline
from deploy_manager.requirements.programs import missing_programs
from deploy_manager.requirements.reading import read_pins
from deploy_manager.requirements.targets import Target
from deploy_manager.wheels.offers import ask_offers
from deploy_manager.wheels.other_pythons import other_pythons
from deploy_manager.wheels.python import own_python, python_of
from tests.commands import Worker, call, call_and_be_refused
from tests.inventory import Inventory, claim, make_inventory
from tests.parts.admin import make_user
from tests.parts.admin_run import run_page
from tests.parts.index import Index
from tests.parts.new_project import FENCE, TOP
from tests.parts.repository import Repository
from tests.parts.sshd import Sshd
from tests.parts.wheels import Package, wheel
from tests.releases import activate
from tests.test_over_ssh import reach_over_ssh

pytestmark = pytest.mark.django_db(transaction=True)


class Shop:
    """`shop/production` on local servers, with an index of its own."""

    def __init__(self, inventory: Inventory, repository: Repository, index: Index) -> None:
        self.inventory, self.repository, self.index = inventory, repository, index

    def pin(self, *lines: str) -> None:
        self.repository.commit("Pins", {"requirements.txt": "\n".join(lines) + "\n"})

    def set(self, **fields: object) -> None:
        Environment.objects.update(**fields)
        self.inventory.environment.refresh_from_db()

    def prepare(self) -> Prepared:
        """Do what a worker does before it connects to a server."""
        return prepare(claim(self.inventory.request()))

    def why_refused(self) -> str:
        with pytest.raises(PinError) as refused:
            self.prepare()
        return str(refused.value)


@pytest.fixture
def shop(repository: Repository, package_index: Index) -> Shop:
    repository.commit("Open the shop", {"manage.py": "", "requirements.txt": "kit==1.0\n"})
    made = make_inventory(repository.path.parent / "sites", str(repository.path))
    made.folder.mkdir()
    made.add_server("m1")
    made.add_server("m2")
    shop = Shop(made, repository, package_index)
    shop.set(index_url=package_index.url, python=sys.executable)
    return shop


def report(name: str, python: str) -> None:
    """Let a server have reported its Python, as its inventory writes it."""
    Placement.objects.filter(server__name=name).update(
        implementation="CPython", python_version=python, platform="linux-x86_64", libc="glibc 2.36"
    )


# Python


def test_servers_whose_python_is_too_old_are_named_before_any_is_touched(shop: Shop) -> None:
    shop.index.add("kit", "1.0", requires_python=">=3.99")
    deployment = shop.inventory.request()
    run(deployment.pk)
    deployment.refresh_from_db()
    assert deployment.state == State.FAILED
    mine = python_version()
    assert deployment.message.startswith(
        f"m1, m2 have Python {mine}, but kit 1.0 needs 3.99 or later.\nInstall such a Python there"
    )
    assert "No server was touched." in deployment.message
    assert not any((shop.inventory.folder / "m1").iterdir())


def test_each_pin_has_a_line_with_the_servers_that_it_is_not_for(shop: Shop) -> None:
    shop.inventory.add_server("m3")
    for name, python in (("m1", "3.11.2"), ("m2", "3.11.2"), ("m3", "3.12.1")):
        report(name, python)
    needed = {"kit": ">=3.13", "boots": "<3.14,>=3.12", "old": "<3"}
    pins = read_pins('boots==2.0\nkit==1.0\nold==1.0 ; python_version < "3.0"\n')
    servers = reported_by(shop.inventory.environment.placements.all())
    lines = other_pythons([(pin, needed[pin.name]) for pin in pins], servers)
    assert lines == [
        "m1, m2 have Python 3.11.2, but boots 2.0 needs <3.14,>=3.12.",
        "m1, m2 have Python 3.11.2, m3 has Python 3.12.1, but kit 1.0 needs 3.13 or later.",
    ]


def test_a_server_that_got_another_python_since_its_inventory_is_not_refused(shop: Shop) -> None:
    shop.index.add("kit", "1.0", requires_python=">=3.11")
    report("m1", "3.10.1")
    report("m2", "3.10.1")
    assert shop.prepare().notices == ()


def test_a_new_server_is_asked_over_ssh_and_nothing_is_written_there(
    shop: Shop, sshd: Sshd, ssh_settings: object
) -> None:
    shop.index.add("kit", "1.0", requires_python=">=3.99")
    shop.set(python="/usr/bin/python3")
    server = Server.objects.get(name="m1")
    reach_over_ssh(server, sshd)
    Placement.objects.filter(server=server).update(own_deploy_path=f"{sshd.home}/new-site")
    words = ["/usr/bin/python3", "-c", "import platform; print(platform.python_version())"]
    version = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    assert f"m1, m2 have Python {version}, but kit 1.0 needs 3.99" in shop.why_refused()
    assert not Path(sshd.home, "new-site").exists()


def test_a_server_that_does_not_answer_is_left_to_its_first_step(shop: Shop) -> None:
    shop.index.add("kit", "1.0", requires_python=">=3.99")
    report("m2", "3.11.2")
    shop.set(python="/nowhere/python3")
    assert shop.why_refused().startswith("m2 has Python 3.11.2, but kit 1.0 needs 3.99 or later.")


def test_pins_that_serve_with_the_same_python_are_not_asked_about(shop: Shop) -> None:
    shop.index.add("kit", "1.0")
    release = shop.prepare().release
    assert release is not None
    Deployment.objects.all().delete()
    activate(shop.inventory, release)
    Placement.objects.update(active_release=release)
    report("m1", "3.12.1")
    report("m2", "3.12.1")
    asked = len(shop.index.requests)
    shop.prepare()
    assert len(shop.index.requests) == asked


@pytest.mark.usefixtures("own_recipes")
def test_an_index_that_is_down_stops_nothing_and_the_log_says_so(shop: Shop) -> None:
    shop.index.down = True
    phase = Phase("prepare", "Prepare", ("checkout_latest", "make_virtualenv"))
    add_pipeline(Pipeline("play", "Play", (phase,)))
    deployment = shop.inventory.request("play")
    run(deployment.pk)
    deployment.refresh_from_db()
    log = b"".join(deployment.log_chunks.values_list("data", flat=True)).decode()
    assert log.count("Not everything could be checked beforehand: The package index") == 1
    assert deployment.state == State.SUCCEEDED


def test_an_index_that_takes_too_long_is_not_waited_for(package_index: Index) -> None:
    package_index.add("kit", "1.0")
    package_index.waits = 3
    began = time.monotonic()
    offers = ask_offers(read_pins("kit==1.0\n"), package_index.url, within=0.2)
    assert time.monotonic() - began < 2
    assert offers.of == ()
    assert "did not answer within 0.2 s" in str(offers.problem)
    package_index.is_over.set()  # nobody waits for the answer, nor does the end of the tests


def test_an_index_that_cannot_be_reached_is_not_tried_for_each_pin() -> None:
    pins = read_pins("".join(f"kit{number}==1.0\n" for number in range(60)))
    offers = ask_offers(pins, "http://127.0.0.1:9/simple/")
    assert offers.of == ()
    assert "did not answer about kit" in str(offers.problem)


def test_the_plan_says_it_without_asking_anybody(shop: Shop) -> None:
    IndexedPackage.objects.create(
        index_url=shop.index.url, name="kit", requires_python={"1.0": ">=3.99"}
    )
    report("m1", "3.11.2")
    asked = len(shop.index.requests)
    plan = make_plan(shop.inventory.environment)
    assert len(shop.index.requests) == asked
    assert str(plan.foreseen[0]) == "m1 has Python 3.11.2, but kit 1.0 needs 3.99 or later."
    assert plan.problems == ()  # the server may have another by now: its worker asks
    assert "but kit 1.0 needs 3.99 or later" in call("deploy", "production", "--dry-run")


def test_the_page_shows_it(shop: Shop, client: Client) -> None:
    IndexedPackage.objects.create(
        index_url=shop.index.url, name="kit", requires_python={"1.0": ">=3.99"}
    )
    report("m1", "3.11.2")
    client.force_login(make_user("ana", superuser=True))
    page = client.get(run_page(shop.inventory, "deploy")).content.decode()
    assert "m1 has Python 3.11.2, but kit 1.0 needs 3.99 or later." in page


def test_what_the_plan_knows_of_versions_comes_from_looking_packages_up(shop: Shop) -> None:
    shop.index.add("kit", "1.0")
    shop.index.add("kit", "2.0", requires_python=">=3.99")
    IndexedPackage.objects.create(index_url=shop.index.url, name="kit")
    shop.inventory.environment.requirements.create(name="kit", version="1.0")
    look_up_due()
    assert IndexedPackage.objects.get().requires_python == {"2.0": ">=3.99"}


# Programs


def test_programs_that_a_site_needs_and_nobody_pinned_are_named() -> None:
    pins = read_pins("django==5.2\nuvicorn==0.30\n")
    needed = {"gunicorn": "it serves the site", "uvicorn": "gunicorn runs it"}
    (sentence,) = missing_programs(pins, needed)
    assert sentence == "gunicorn is not among the pins, but it serves the site: pin it."


def test_a_site_on_gunicorn_without_gunicorn_is_refused_by_plan_and_worker(shop: Shop) -> None:
    shop.set(reload_method=Environment.ReloadMethod.GUNICORN)
    sentence = "gunicorn is not among the pins, but it serves the site: pin it."
    assert make_plan(shop.inventory.environment).problems == (sentence,)
    assert shop.why_refused() == sentence
    assert shop.index.requests == []


# Requirements of packages


def test_what_pins_need_and_nobody_pinned_is_named(shop: Shop) -> None:
    shop.pin("kit==1.0", "boots[laces]==2.0")
    shop.index.add("kit", "1.0", requires=("socks>=1", "boots<3", "coat; python_version<'3'"))
    shop.index.add("boots", "2.0", requires=("laces; extra == 'laces'", "hat; extra == 'hat'"))
    assert shop.why_refused().splitlines()[:2] == [
        "boots 2.0 needs laces, which is not pinned.",
        "kit 1.0 needs socks>=1, which is not pinned.",
    ]


def test_pins_that_do_not_fit_each_other_are_named(shop: Shop) -> None:
    shop.pin("kit==1.0", "boots==2.0")
    shop.index.add("kit", "1.0", requires=("boots<2",))
    shop.index.add("boots", "2.0")
    assert shop.why_refused().startswith("kit 1.0 needs boots<2, but 2.0 is pinned.")


def test_an_index_without_metadata_leaves_that_to_the_servers(shop: Shop) -> None:
    shop.index.add("kit", "1.0", requires=("socks",), as_sdist=True)
    assert shop.prepare().release is not None


# Wheels for a platform


def offer(shop: Shop, folder: Path, tags: str) -> None:
    """Offer a wheel of kit 1.0 for these tags only."""
    _name, content = wheel(Package("kit", "1.0"))
    file = folder / f"kit-1.0-{tags}.whl"
    file.write_bytes(content)
    shop.index.offer(file)


OTHERS = "cp311-cp311-macosx_11_0_arm64"


def test_the_wheels_that_fit_are_known_from_what_a_server_reported() -> None:
    libc = " ".join(platform.libc_ver())
    own = Target(python_version(), "CPython", sysconfig.get_platform(), libc)
    found = python_of(own)
    assert found is not None
    assert found.tags == own_python().tags
    musl = python_of(Target("3.13.1", "CPython", "linux-aarch64", "musl 1.2"))
    assert musl is not None
    assert "cp39-abi3-musllinux_1_1_aarch64" in musl.tags
    assert not any("manylinux" in tag for tag in musl.tags)
    for unknown in (("3.11.2", "PyPy"), ("3.11.2", "CPython", "linux-armv7l", "glibc 2.36")):
        assert python_of(Target(*unknown)) is None


def test_a_pin_without_any_file_for_a_server_is_refused(shop: Shop, tmp_path: Path) -> None:
    offer(shop, tmp_path, OTHERS)
    line, advice = shop.why_refused().splitlines()
    assert line.startswith(f"kit 1.0 has no wheel for m1, m2 (Python {python_version()} on linux ")
    assert line.endswith(
        f"and no sdist to build one from. The package index offers kit-1.0-{OTHERS}.whl."
    )
    assert advice == "Pin versions that have a wheel for these servers."


def test_where_servers_choose_the_index_that_is_only_noted(shop: Shop, tmp_path: Path) -> None:
    offer(shop, tmp_path, OTHERS)
    shop.set(index_url="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UV_DEFAULT_INDEX", shop.index.url)
        notices = shop.prepare().notices
    assert str(notices[0]).startswith("kit 1.0 has no wheel for m1, m2")


def test_what_servers_have_to_build_is_noted_if_they_fetch_it_themselves(
    shop: Shop, tmp_path: Path
) -> None:
    offer(shop, tmp_path, OTHERS)
    shop.index.add("kit", "1.0", as_sdist=True)
    first, second = map(str, shop.prepare().notices)
    assert first.startswith("kit 1.0 has no wheel for m1, m2")
    assert first.endswith("only an sdist.")
    assert second.startswith("Each server builds them itself")


def test_what_nobody_builds_is_refused_if_the_worker_sends_wheels(shop: Shop) -> None:
    shop.index.add("kit", "1.0", as_sdist=True)
    shop.set(wheels=Environment.Wheels.SHIPPED)
    told = shop.why_refused()
    assert "kit 1.0 has no wheel for m1, m2" in told
    assert "Choose a builder in the environment" in told
    Deployment.objects.all().delete()
    forge = Server.objects.create(name="forge", connection=Server.Connection.LOCAL)
    shop.set(builder=forge)
    assert shop.prepare().notices == ()


# A part of the servers


@pytest.fixture
def parted(shop: Shop, worker: Worker) -> Shop:
    """m1 serves the commit before the newest, m2 is new; no worker takes what is requested."""
    worker.is_deaf = True
    lock = LockFile.objects.of("a" * 64, "kit==1.0\n")
    old = Release.objects.make(shop.inventory.environment, shop.repository.head, "Open", lock)
    Placement.objects.filter(server__name="m1").update(active_release=old)
    shop.repository.commit("Sell", {"a.txt": "2"})
    return shop


def test_a_new_server_alone_does_not_get_another_commit_unseen(parted: Shop) -> None:
    old, new = (parted.repository.git("rev-parse", "--short=8", at) for at in ("HEAD~", "HEAD"))
    told = call_and_be_refused("deploy", "production", "--server", "m2")
    assert (
        f"m2 would get {new} and migrate the database of all, but m1 would go on serving {old}."
        in told
    )
    assert "manage.py converge shop/production m2" in told
    assert "add --leave-others" in told
    assert not Deployment.objects.exists()


def test_who_says_so_leaves_the_others_behind(parted: Shop) -> None:
    call("deploy", "production", "--server", "m2", "--leave-others", "--no-wait")
    assert [run.server_name for run in Deployment.objects.get().host_runs.all()] == ["m2"]


def test_the_commit_that_the_others_serve_needs_no_consent(parted: Shop) -> None:
    commit = parted.repository.git("rev-parse", "HEAD~")
    call("deploy", "production", "--server", "m2", "--ref", commit, "--no-wait")
    assert Deployment.objects.get().commit == commit


def test_all_that_serve_and_a_new_one_left_out_need_no_consent(parted: Shop) -> None:
    assert make_plan(parted.inventory.environment, servers=["m1"]).parting == ""


def test_the_page_says_in_words_who_is_left_behind(parted: Shop, client: Client) -> None:
    client.force_login(make_user("ana", superuser=True))
    page = client.get(f"{run_page(parted.inventory)}&server=m2").content.decode()
    assert "Only a part of the servers:" in page
    assert "but m1 would go on serving" in page
    assert "Only a part of" not in client.get(run_page(parted.inventory)).content.decode()


def test_the_commands_on_the_page_can_be_typed(
    parted: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parted.index.add("kit", "1.0")
    (tmp_path / "requirements.in").write_text("kit\n")
    monkeypatch.chdir(tmp_path)
    page = (TOP / "docs/what-is-checked-before.md").read_text()
    typed = [
        line
        for block in FENCE.finditer(page)
        if block["language"] == "sh"
        for line in block["text"].splitlines()
    ]
    assert len(typed) == 4
    for line in typed:
        _manage, *words = line.split()
        call(*words)
    assert parted.inventory.environment.requirements.get().version == "1.0"
