"""What a package index says of packages, asked of an index on loopback."""

import importlib.util
import json
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from pypi_simple import PYPI_SIMPLE_ENDPOINT

from deploy_manager.exceptions import IndexUnreachable, PinError
from deploy_manager.requirements import index_facts, own_index
from deploy_manager.requirements.declared import sources_of
from deploy_manager.requirements.exporting import export_pylock
from deploy_manager.requirements.index_facts import (
    IndexProblem,
    PackageFacts,
    VersionFacts,
    look_up,
    look_up_many,
)
from deploy_manager.requirements.own_index import own_index_url
from deploy_manager.requirements.pins import Pin
from deploy_manager.requirements.uv import run_uv
from tests.parts.index import Index
from tests.parts.index_pages import as_json
from tests.parts.osv import OsvStub

MARCH = datetime(2026, 3, 1, tzinfo=UTC)
MAY = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.fixture
def shop(package_index: Index) -> Index:
    """An index with a package of many versions, told in no order."""
    package_index.add("Shop.Kit", "1.10", uploaded=MAY)
    package_index.add("Shop.Kit", "1.9", uploaded=MARCH, as_sdist=True)
    package_index.add("Shop.Kit", "2.0rc1", uploaded=MARCH)
    package_index.add("Shop.Kit", "1.11", uploaded=MAY, yanked="loses orders")
    package_index.add("Shop.Kit", "1.12", uploaded=MARCH, requires_python=">=3.14")
    package_index.add("Shop.Kit", "1.13", uploaded=None, requires_python=">=3.14")
    return package_index


def version_of(found: VersionFacts | None) -> str:
    return found.version if found else ""


def test_versions_come_oldest_first_with_what_is_known_of_each(shop: Index) -> None:
    facts = look_up("shop_kit", shop.url)
    assert (facts.name, facts.status) == ("shop-kit", "active")
    assert facts.versions == (
        VersionFacts("1.9", MARCH, False, "", "", has_wheel=False),
        VersionFacts("1.10", MAY, False, "", "", has_wheel=True),
        VersionFacts("1.11", MAY, True, "loses orders", "", has_wheel=True),
        VersionFacts("1.12", MARCH, False, "", ">=3.14", has_wheel=True),
        VersionFacts("1.13", None, False, "", ">=3.14", has_wheel=True),
        VersionFacts("2.0rc1", MARCH, False, "", "", has_wheel=True),
    )


def test_the_latest_is_one_that_may_be_installed(shop: Index) -> None:
    facts = look_up("shop-kit", shop.url)
    assert version_of(facts.latest()) == "1.13"
    assert version_of(facts.latest(python="3.12")) == "1.10"
    assert version_of(facts.latest(python="3.12", before=MAY)) == "1.9"
    assert version_of(facts.latest(before=MAY)) == "1.12", "unknown is too young"
    assert version_of(facts.latest(prereleases=True)) == "2.0rc1"
    assert facts.latest(before=MARCH) is None


def test_a_version_is_found_however_it_is_spelled(shop: Index) -> None:
    facts = look_up("shop-kit", shop.url)
    assert version_of(facts.of("1.10.0")) == "1.10"
    assert version_of(facts.of("2.0-RC.1")) == "2.0rc1"
    assert facts.of("3") is None
    assert facts.of("nonsense") is None


def test_a_version_is_yanked_when_all_its_files_are(package_index: Index) -> None:
    package_index.add("kit", "1.0", yanked="no source", as_sdist=True, uploaded=MARCH)
    package_index.add("kit", "1.0", uploaded=MAY)
    package_index.add("kit", "2.0", yanked="")
    one, two = look_up("kit", package_index.url).versions
    assert (one.yanked, one.yanked_reason, one.uploaded_at) == (False, "", MAY)
    assert (two.yanked, two.yanked_reason) == (True, "")


@pytest.mark.parametrize("speaks_json", [True, False])
def test_the_status_of_a_project_is_reported(shop: Index, speaks_json: bool) -> None:
    shop.speaks_json = speaks_json
    shop.say("shop-kit", "archived", "use shopkit2")
    facts = look_up("shop-kit", shop.url)
    assert (facts.status, facts.status_reason) == ("archived", "use shopkit2")


def test_a_project_in_quarantine_offers_nothing(shop: Index) -> None:
    shop.say("shop-kit", "quarantined")
    assert look_up("shop-kit", shop.url) == PackageFacts("shop-kit", (), "quarantined")


def test_an_index_that_shows_no_upload_times_has_nothing_old_enough(shop: Index) -> None:
    shop.speaks_json = False
    facts = look_up("shop-kit", shop.url)
    assert version_of(facts.latest(python="3.12")) == "1.10"
    assert facts.latest(before=MAY) is None


def test_an_upload_time_without_a_zone_is_in_utc(package_index: Index) -> None:
    package_index.add("kit", "1.0", uploaded=MARCH)
    told = json.dumps(as_json(package_index.projects["kit"])).replace(".000000Z", "")
    package_index.pages["kit"] = told.encode()
    assert look_up("kit", package_index.url).versions[0].uploaded_at == MARCH


def test_what_can_not_be_read_forbids_no_python(package_index: Index) -> None:
    package_index.add("kit", "1.0", requires_python=">=3.9.*")
    assert look_up("kit", package_index.url).latest(python="3.12")


def test_many_are_looked_up_at_once_and_one_failure_is_only_its_own(shop: Index) -> None:
    for number in range(40):
        shop.add(f"kit-{number}", "1.0")
    names = ["shop-kit", "absent", *(f"kit-{number}" for number in range(40))]
    found = look_up_many(names, shop.url)
    assert list(found) == names
    assert found["absent"] == IndexProblem(f"The package index {shop.url} has no package absent")
    assert sum(isinstance(one, PackageFacts) for one in found.values()) == 41


def test_many_are_asked_side_by_side(package_index: Index) -> None:
    together = threading.Barrier(4, timeout=20)
    package_index.before_answer = together.wait
    for number in range(4):
        package_index.add(f"kit-{number}", "1.0")
    found = look_up_many([f"kit-{number}" for number in range(4)], package_index.url, workers=4)
    assert all(isinstance(one, PackageFacts) for one in found.values())


def test_an_index_that_is_down_is_reported(shop: Index) -> None:
    shop.down = True
    with pytest.raises(IndexUnreachable, match="did not answer about shop-kit: 503 Server Error"):
        look_up("shop-kit", shop.url)


def test_where_nobody_listens_is_reported(package_index: Index) -> None:
    package_index.close()
    with pytest.raises(IndexUnreachable, match=r"did not answer about kit: .*Connection refused"):
        look_up("kit", package_index.url)


def test_an_index_that_hangs_is_left_in_time(shop: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_facts, "READ_TIMEOUT", 0.2)
    shop.waits = 60.0
    with pytest.raises(IndexUnreachable, match="Read timed out"):
        look_up("shop-kit", shop.url)


def test_what_is_no_index_is_reported(osv: OsvStub, shop: Index) -> None:
    shop.pages["shop-kit"] = b'{"meta": {}, "files": "many"}'
    with pytest.raises(IndexUnreachable, match="that is not an index page"):
        look_up("shop-kit", shop.url)
    with pytest.raises(IndexUnreachable, match="did not answer about kit"):
        look_up("kit", osv.url)
    with pytest.raises(IndexUnreachable, match="did not answer about kit: No connection adapters"):
        look_up("kit", "ftp://127.0.0.1/")


@pytest.mark.parametrize("name", ["../../secret", "a b", "", "-r x"])
def test_what_is_no_name_is_never_asked_for(package_index: Index, name: str) -> None:
    with pytest.raises(IndexUnreachable, match="is not a valid package name"):
        look_up(name, package_index.url)
    assert not package_index.requests


def test_credentials_are_used_and_never_told() -> None:
    with Index(user="me", password="s3cret") as index:
        index.add("kit", "1.0")
        assert look_up("kit", index.url_with_credentials).latest()
        with pytest.raises(IndexUnreachable, match="401") as refused:
            look_up("kit", index.url_with_credentials.replace("s3cret", "wr0ng"))
        index.down = True
        problem = look_up_many(["kit"], index.url_with_credentials)["kit"]
        told = f"{refused.value} {problem}"
    assert "s3cret" not in told
    assert "wr0ng" not in told


def test_a_blank_address_is_the_one_that_uv_and_pip_use(
    package_index: Index, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package_index.add("kit", "1.0")
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    configuration = tmp_path / "pip.conf"
    configuration.write_text(f"[global]\nindex-url = {package_index.url}\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(configuration))
    assert look_up("kit").latest()
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/pip/")
    assert own_index_url() == "http://127.0.0.1:9/pip/"
    monkeypatch.setenv("UV_DEFAULT_INDEX", "shop=http://127.0.0.1:9/uv/")
    assert own_index_url() == "http://127.0.0.1:9/uv/"


@pytest.fixture
def pip_conf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A file that configures pip, and nothing else that names an index."""
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "pip.conf"
    monkeypatch.setenv("PIP_CONFIG_FILE", str(path))
    return path


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("", PYPI_SIMPLE_ENDPOINT),
        ("[global]\ntimeout = 9\n", PYPI_SIMPLE_ENDPOINT),
        ("[global]\nquiet = 3\nindex-url = http://own/\n", "http://own/"),
        ("[global]\nindex-url = http://all/\n[install]\nindex-url = http://own/\n", "http://own/"),
    ],
)
def test_the_index_is_the_one_that_pip_install_uses(pip_conf: Path, text: str, url: str) -> None:
    pip_conf.write_text(text)
    assert own_index_url() == url


def test_a_configuration_that_no_pip_can_read_is_no_reason_to_use_the_public_index(
    pip_conf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip_conf.write_text("[global]\nindex-url = http://own/\n")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(IndexUnreachable, match="is there, but pip is not installed"):
        own_index_url()


def test_a_pip_that_can_not_say_its_index_is_no_reason_to_use_the_public_one(
    pip_conf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip_conf.write_text("index-url = http://own/\n")
    with pytest.raises(IndexUnreachable, match=r"to use is unknown.*contains no section headers"):
        own_index_url()
    problem = look_up_many(["kit"])["kit"]
    assert isinstance(problem, IndexProblem)
    assert "UV_DEFAULT_INDEX" in str(problem.reason)
    for ask in (
        lambda: sources_of("kit", SpecifierSet(), ""),
        lambda: run_uv(["pip", "compile"]),
        lambda: export_pylock([Pin("kit", "1", hashes=("sha256:0",))]),
    ):
        with pytest.raises(PinError, match="to use is unknown"):
            ask()
    monkeypatch.setattr(own_index, "PIP_ANSWERS_WITHIN", 0.001)
    with pytest.raises(IndexUnreachable, match=r"no answer within 0\.001 s"):
        own_index_url()
