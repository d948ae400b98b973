"""Files that other programs read: what they make of hostile text, by these programs themselves."""

import contextlib
import csv
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deploy_manager.exceptions import DeployManagerError, PinError
from deploy_manager.inventories.formats import read_inventory
from deploy_manager.inventory.changes import Wanted
from deploy_manager.inventory.comparing import plan_import
from deploy_manager.inventory.exporting import export, servers_to_export
from deploy_manager.inventory.writing import write_import
from deploy_manager.models import Environment, Placement, Project, Requirement, Server
from deploy_manager.packages.pins import checked_pins_of
from deploy_manager.recipes.remote.processes.place import _quoted_for_systemd
from deploy_manager.requirements.pins import lock_text
from deploy_manager.requirements.reading import read_pins, read_pins_of
from tests.inventory_files import MAKERS, Machine
from tests.parts.injection import CANARY, VALUES
from tests.parts.matrices import few
from tests.parts.packages import make_environment

SLICES = few(*range(24))


@pytest.fixture(autouse=True)
def canary() -> Iterator[None]:
    """Nothing has made the canary, whatever the test did."""
    yield
    assert not Path(CANARY).exists()


# What is exported


TEMPLATES = ("{{{{ lookup('pipe', '{}') }}}}", "{{% if {} %}}{{% endif %}}", "*", "!*", '"', "#x")
ODD = (
    *VALUES[::9],
    *(each.format(f"touch {CANARY}") for each in TEMPLATES),
    "%h",
    "-oProxyCommand=id",
)


@pytest.fixture
def hostile_servers(db: None) -> list[Server]:
    """A server for each hostile text, written around every form, and one that is sound."""
    Server.objects.create(name="sound", address="192.0.2.1", user="deploy", port=2222)
    texts = [text for text in ODD if "\0" not in text and "\ud800" not in text]
    servers = [
        Server(name=text[:100], address=text[:253], user=text[:32], gateway=None) for text in texts
    ]
    Server.objects.bulk_create(servers, ignore_conflicts=True)
    return list(Server.objects.all())


def test_ssh_takes_no_exported_block_for_another_server_or_for_an_order(
    hostile_servers: list[Server], tmp_path: Path
) -> None:
    file = tmp_path / "config"
    file.write_text(export(servers_to_export(), "ssh_config"))
    for name, host, user in (("sound", "192.0.2.1", "deploy"), ("other", "other", "")):
        known = what_ssh_makes_of(file, name)
        assert known["hostname"] == host
        assert user in ("", known["user"])
        assert "proxycommand" not in known
        assert known.get("proxyjump", "none") == "none"


def what_ssh_makes_of(file: Path, name: str) -> dict[str, str]:
    done = subprocess.run(["ssh", "-G", "-F", file, name], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    words = (line.partition(" ") for line in done.stdout.splitlines())
    return {key: value for key, _space, value in words}


def test_ansible_takes_no_exported_text_for_a_template(
    hostile_servers: list[Server], tmp_path: Path
) -> None:
    environment = make_environment("production")
    for server in hostile_servers:
        Placement.objects.create(environment=environment, server=server)
    paths = Placement.objects.exclude(server__name="sound")
    for placement in paths.select_related("server"):
        paths.filter(pk=placement.pk).update(
            own_deploy_path=placement.server.name, roles=[placement.server.name]
        )
    Environment.objects.update(python=ODD[-8][:100])
    # All of it is evaluated here: nothing has to be reached for that.
    file = tmp_path / "hosts.yml"
    Server.objects.exclude(name="sound").update(connection="local")
    file.write_text(export(servers_to_export(), "ansible"))
    words = [sys.executable, "-m", "ansible", "adhoc", "all", "-i", str(file), "-m", "debug"]
    words += ["-a", "msg={{ deploy_path }}{{ deploy_python }}{{ deploy_sites }}", "-c", "local"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    assert not Path(CANARY).exists()
    assert '"msg"' in done.stdout, done.stderr
    assert "{{" not in json.dumps(json.loads(file.read_text()))


def test_a_spreadsheet_calculates_no_exported_cell(hostile_servers: list[Server]) -> None:
    rows = list(csv.reader(io.StringIO(export(servers_to_export(), "csv"))))
    assert len(rows) == len(hostile_servers) + 1
    assert not [cell for row in rows for cell in row if cell[:1] in tuple("=+-@\t\r")]


# What is imported


@pytest.mark.parametrize("form", MAKERS)
@pytest.mark.parametrize("part", SLICES)
def test_an_import_writes_what_a_form_would_have_taken_and_nothing_else(
    db: None, form: str, part: int
) -> None:
    for number, value in enumerate(VALUES[part :: len(SLICES)]):
        places = (
            Machine(value, "192.0.2.1", "web"),
            Machine("web0001", f"192.0.2.1{value}", "web"),
            Machine("web0001", "192.0.2.1", value),
            Machine(f"web{value}", "192.0.2.1", "web"),
            Machine("web0001", value, "web"),
        )
        if not part and "ansible" in form and number > 2:
            return  # each of these starts a process
        # In turn; with --long all of them.
        for machine in places if part else places[number % 5 :][:1]:
            bring(form, [machine, Machine("web0003", "192.0.2.3", "web")])


def bring(form: str, machines: list[Machine]) -> None:
    project, _made = Project.objects.get_or_create(name="shop", repository="/srv/shop.git")
    environment, _made = Environment.objects.get_or_create(
        project=project, name="production", deploy_path="/srv/shop"
    )
    data = MAKERS[form](machines).encode(errors="surrogatepass")
    with contextlib.suppress(DeployManagerError):  # then nothing was written
        inventory = read_inventory(data, form)
        wanted = Wanted(environment, user="deploy")
        write_import(inventory, wanted, plan_import(inventory, wanted).digest)
    for row in (*Server.objects.all(), *Placement.objects.all()):
        row.clean_fields()
    Placement.objects.all().delete()
    Server.objects.all().delete()


AROUND_PINS = (
    *("{}", "{}==1.0", "django=={}", "django==5.2.8 ; {}", "django[{}]==5.2.8", "-r {}", "-e {}"),
    *("django==5.2.8 --hash={}", "--index-url {}", "django @ {}", "django==5.2.8 # {}", "-c {}"),
    *('django==5.2.8 ; python_version < "{}"', "django==5.2.8 \\\n    --hash=sha256:{}"),
)


_FILE = (
    f'{{{{url = "https://x.example.org/a-1.0.tar.gz", hashes = {{{{sha256 = "{"0" * 64}"}}}}}}}}'
)
AROUND_LOCKS = (
    f'name = "a{{}}"\nversion = "1.0"\nsdist = {_FILE}',
    f'name = "a"\nversion = "1.0{{}}"\nsdist = {_FILE}',
    f'name = "a"\nversion = "1.0"\nmarker = "os_name == \'{{}}\'"\nsdist = {_FILE}',
    f'name = "a"\nversion = "1.0"\nsdist = {_FILE}\n'
    '[packages.tool.deploy-manager]\nextras = ["{}"]',
    'name = "a"\n[packages.archive]\nurl = "https://x.example.org/{}a.zip"\n'
    f'hashes = {{{{sha256 = "{"0" * 64}"}}}}',
    'name = "a"\n[packages.vcs]\ntype = "git"\nurl = "https://x.example.org/{}"\n'
    f'commit-id = "{"0" * 40}"\nsubdirectory = "{{}}"',
)
"""Packages of a pylock.toml, whose texts may have any sign, escaped."""

LOCK_BEGINS = 'lock-version = "1.0"\ncreated-by = "people"\n[[packages]]\n'


def sent_files(value: str) -> Iterator[tuple[str, str]]:
    """Yield files with a text in each place of a requirement, by their names."""
    for around in AROUND_PINS:
        yield "requirements.txt", f"asgiref==3.8.1\n{around.format(value)}\n"
        if "\n" not in around and "\ud800" not in value:
            listed = json.dumps([around.format(value)], ensure_ascii=True)
            yield "pyproject.toml", f'[project]\nname = "x"\nversion = "1"\ndependencies = {listed}'
    for around in AROUND_LOCKS if "\ud800" not in value else ():
        yield "pylock.toml", LOCK_BEGINS + around.format(*[json.dumps(value)[1:-1]] * 2)


@pytest.mark.parametrize("part", SLICES)
def test_files_have_pins_that_a_form_would_have_taken_or_none(part: int) -> None:
    for value in VALUES[part :: len(SLICES)]:
        for name, text in sent_files(value):
            try:
                pins = read_pins_of(name, {name: text.encode(errors="replace")}.get)
            except DeployManagerError:
                continue
            assert read_pins(lock_text(pins)) == pins
            for pin in pins:
                row = Requirement(name=pin.name, version=pin.version or "1", marker=pin.marker)
                row.extras, row.hashes, row.url = list(pin.extras), list(pin.hashes), pin.url
                row.clean_fields(exclude=["environment"])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("requirements.txt", "kit==1.0 ; os_name == 'x\\nevil==6'\n"),
        ("pyproject.toml", "[project]\ndependencies = [\"kit==1 ; os_name == 'x\\\\nevil==6'\"]"),
        ("pylock.toml", LOCK_BEGINS + AROUND_LOCKS[2].format("x\\\\nevil==6")),
        ("pylock.toml", LOCK_BEGINS + AROUND_LOCKS[3].format("x]==1\\nevil[y")),
    ],
)
def test_no_pin_of_a_file_becomes_two_lines_of_a_lock(name: str, text: str) -> None:
    with pytest.raises(PinError, match="would end the line"):
        read_pins_of(name, {name: text.encode()}.get)


def test_pins_written_around_forms_are_exported_by_nobody(db: None) -> None:
    environment = make_environment("production")
    row = environment.requirements.create(name="django", version="5.2.8")
    refused = 0
    for field in ("name", "version", "marker"):
        for value in VALUES[::4]:
            if "\ud800" not in value:
                Requirement.objects.filter(pk=row.pk).update(**{field: value})
                with pytest.raises(DeployManagerError):
                    checked_pins_of(environment)
                refused += 1
        Requirement.objects.filter(pk=row.pk).update(name="django", version="5.2.8", marker="")
    assert refused > 300


# What systemd reads


@pytest.fixture(scope="module")
def systemd_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root whose os-release systemd reads as it reads the file of a unit's environment."""
    assert shutil.which("systemd-tmpfiles"), "systemd-tmpfiles is missing: apt-get install systemd"
    root = tmp_path_factory.mktemp("root")
    for name in ("etc", "out"):
        (root / name).mkdir()
    (root / "print.conf").write_text("f+ /out/value - - - - %W|%B\n")
    return root


def as_systemd_reads_it(root: Path, value: str) -> str:
    quoted = _quoted_for_systemd(value)
    text = f"ID=x\nVARIANT_ID={quoted}\nBUILD_ID={quoted}\n"
    (root / "etc/os-release").write_bytes(text.encode())
    words = ["systemd-tmpfiles", f"--root={root}", "--create", str(root / "print.conf")]
    subprocess.run(words, check=True, capture_output=True)
    return (root / "out/value").read_bytes().decode()


@settings(max_examples=30, deadline=None)
@given(value=st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=200))
@example("a\\")
@example("\r")
@example("a\\\nb")
@example("$x `x` \"'")
def test_variables_reach_a_unit_as_they_are(systemd_root: Path, value: str) -> None:
    assert as_systemd_reads_it(systemd_root, value) == f"{value}|{value}"


@pytest.mark.parametrize("part", SLICES)
def test_hostile_variables_reach_a_unit_as_they_are(systemd_root: Path, part: int) -> None:
    for value in VALUES[part :: len(SLICES)]:
        if "\0" not in value and "\ud800" not in value:
            assert as_systemd_reads_it(systemd_root, value) == f"{value}|{value}"
