"""Private repositories: the secret reaches git and its server, and nothing else."""

import os
import subprocess
import time
from pathlib import Path
from secrets import token_hex

import pytest
from django.core.exceptions import ValidationError
from pytest_django import Settings

from deploy_manager.credentials import git_login
from deploy_manager.exceptions import CodeError, InvalidRow
from deploy_manager.models import Credential, Project
from deploy_manager.models.validators import validate_direct_url, validate_repository
from deploy_manager.packages import fetching
from deploy_manager.packages.fetching import note_of
from deploy_manager.packages.repository import fetch_for_others, mirror_of, own_mirror_of
from deploy_manager.private_keys import make_private_key
from deploy_manager.sealing import Secret
from tests.parts.git_server import serving
from tests.parts.leaks import Leaks
from tests.parts.repository import Repository
from tests.parts.secret_keys import as_web_server
from tests.parts.sshd import StartSshd, open_folder

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("secrets_key")]

GROUP = 65431
"""Of an account that does not exist otherwise."""

TOKEN = f"glpat-Zm9v/{token_hex(4)}+Yg&x"
"""Of this run alone: other runs, and copies of this file, lie in the folders that are searched."""

PASSPHRASE = f"pass phrase & {token_hex(4)}"


@pytest.fixture(autouse=True)
def no_login_of_the_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An account whose own helper would store what it is told."""
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(
        f"[credential]\n\thelper = store --file {home}/stored\n[safe]\n\tdirectory = *\n"
    )
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("GIT_CONFIG_GLOBAL", raising=False)
    return home


def make_project(settings: Settings, url: str) -> Project:
    settings.DEPLOY_MANAGER = {**settings.DEPLOY_MANAGER, "INSECURE_REPOSITORIES": ["127.0.0.1"]}
    return Project.objects.create(name="shop", repository=url)


def token(**changes: object) -> Credential:
    row = Credential(name="forge", kind="git-token", host="127.0.0.1", user="oauth2")
    row.put(Secret(TOKEN))
    for name, value in changes.items():
        setattr(row, name, value)
    row.save()
    return row


def test_a_token_is_told_to_the_server_alone(
    repository: Repository, tmp_path: Path, settings: Settings
) -> None:
    leaks = Leaks.of(TOKEN, folders=[tmp_path, Path("/dev/shm")])
    with serving(tmp_path, "oauth2", TOKEN) as server:
        project = make_project(settings, f"{server.url}/shop/.git")
        token(project=project)
        mirror = mirror_of(project)
        with leaks.watched():
            mirror.update()
            commit = repository.commit("Second", {"b.txt": "2"})
            mirror.update()
    assert mirror.resolve("main").hash == commit
    assert server.wanted in server.seen
    assert leaks.samples
    assert not leaks.found


def test_the_files_of_a_commit_are_fetched_by_the_same_token(
    repository: Repository, tmp_path: Path, settings: Settings
) -> None:
    repository.git("config", "uploadpack.allowFilter", "true")
    older, newer = repository.head, repository.commit("Second", {"a.txt": "2"})
    with serving(tmp_path, "oauth2", TOKEN) as server:
        project = make_project(settings, f"{server.url}/shop/.git")
        credential = token()
        mirror = mirror_of(project)
        mirror.update()
        server.seen.clear()
        assert mirror.read_file(older, "a.txt") == "1"
        assert server.wanted in server.seen
        credential.delete()
        # What is missing is fetched with the login, or not at all.
        with pytest.raises(CodeError, match="are not here yet"):
            mirror_of(project).read_file(newer, "a.txt")


def test_a_server_that_sends_git_elsewhere_gets_no_token_there(
    repository: Repository, tmp_path: Path, settings: Settings
) -> None:
    with serving(tmp_path, "", "") as other, serving(tmp_path, "oauth2", TOKEN) as server:
        server.redirect_to = other.url.replace("127.0.0.1", "localhost")
        project = make_project(settings, f"{server.url}/shop/.git")
        token()
        with pytest.raises(CodeError):
            mirror_of(project).update()
        assert server.seen
        assert not any(other.seen)


def test_a_refused_token_names_its_credential(
    repository: Repository, tmp_path: Path, settings: Settings
) -> None:
    with serving(tmp_path, "oauth2", "another") as server:
        project = make_project(settings, f"{server.url}/shop/.git")
        token()
        with pytest.raises(CodeError, match="token of the credential forge is refused") as told:
            mirror_of(project).update()
    assert TOKEN not in str(told.value)


def test_a_server_that_repeats_the_token_is_quoted_without_it(
    repository: Repository, tmp_path: Path, settings: Settings
) -> None:
    with serving(tmp_path, "", "") as server:
        server.refusal = f"the token {TOKEN} has expired"
        project = make_project(settings, f"{server.url}/shop/.git")
        token()
        with pytest.raises(CodeError, match="has expired") as told:
            mirror_of(project).update()
    assert TOKEN not in str(told.value)


def test_a_web_server_reads_the_mirror_and_says_that_no_worker_fetches(
    repository: Repository,
    tmp_path: Path,
    settings: Settings,
    secrets_key: Path,
    embedded_broker: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fetching, "FETCHED_WITHIN", 0.2)
    with serving(tmp_path, "oauth2", TOKEN) as server:
        project = make_project(settings, f"{server.url}/shop/.git")
        token()
        mirror_of(project).update()
        as_web_server(settings, secrets_key)
        assert mirror_of(project).resolve("main").hash == repository.head
        with pytest.raises(CodeError, match="Check that one runs"):
            mirror_of(project).update()


@pytest.mark.as_root
def test_a_cache_for_two_accounts_is_readable_for_the_group_whatever_the_umask(
    repository: Repository, settings: Settings
) -> None:
    with open_folder() as cache, serving(repository.path.parent, "oauth2", TOKEN) as server:
        os.chown(cache, 0, GROUP)
        cache.chmod(0o2750)
        settings.DEPLOY_MANAGER = {**settings.DEPLOY_MANAGER, "CACHE": cache}
        project = make_project(settings, f"{server.url}/shop/.git")
        token()
        before = os.umask(0o077)
        try:
            fetch_for_others(project.pk)
            repository.commit("Second", {"b.txt": "2"})
            fetch_for_others(project.pk)
        finally:
            os.umask(before)
        mirror = own_mirror_of(project)
        show = ["git", "--git-dir", str(mirror.folder), "show", "main:b.txt"]
        shown = run_as(GROUP, show)
        assert (shown.stdout, shown.stderr) == (b"2", b"")
        assert run_as(GROUP, ["cat", str(note_of(mirror))]).stdout == b"[]"
        assert run_as(GROUP + 1, show).returncode


def run_as(account: int, words: list[str]) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        words, capture_output=True, check=False, user=account, group=account, extra_groups=[]
    )


def test_the_token_of_the_project_goes_before_that_of_all(settings: Settings) -> None:
    project = make_project(settings, "https://127.0.0.1/shop.git")
    token(name="all")
    token(name="elsewhere", host="git.example.org")
    assert login_name(project) == "all"
    token(name="own", project=project)
    assert login_name(project) == "own"
    token(name="other", project=Project.objects.create(name="blog", repository="/srv/blog.git"))
    assert login_name(project) == "own"


def login_name(project: Project) -> str:
    found = git_login(project)
    assert found
    return found.name


@pytest.fixture
def deploy_key_server(start_sshd: StartSshd, repository: Repository) -> tuple[str, str, Path]:
    """A repository behind an sshd: its URL, its host key's line, the file of authorized keys."""
    server = start_sshd(LogLevel="VERBOSE")
    authorized = server.log_file.with_name("authorized_keys")
    where = server.home / "shop.git"
    subprocess.run(["git", "clone", "-q", "--bare", repository.path, where], check=True)
    subprocess.run(["chown", "-R", server.user, where], check=os.geteuid() == 0)
    url = f"ssh://{server.user}@{server.address}:{server.port}{where}"
    return url, f"[{server.address}]:{server.port} {server.host_key}", authorized


@pytest.mark.parametrize("passphrase", ["", PASSPHRASE], ids=["plain", "locked"])
def test_a_deploy_key_stays_in_an_agent_that_ends_with_git(
    deploy_key_server: tuple[str, str, Path], tmp_path: Path, settings: Settings, passphrase: str
) -> None:
    url, host_key, authorized = deploy_key_server
    key = make_private_key()
    text = key.plain.value
    if passphrase:
        file = tmp_path / "locked"
        file.touch(0o600)
        file.write_text(text)
        words = ["ssh-keygen", "-q", "-p", "-P", "", "-N", passphrase, "-f", str(file)]
        subprocess.run(words, check=True)
        text = file.read_text()
        file.unlink()
    authorized.write_text(f"{key.public_line}\n")
    project = make_project(settings, url)
    row = Credential(name="deploy-key", kind="git-key", host="127.0.0.1", known_hosts=host_key)
    row.put(Secret(text), Secret(passphrase) if passphrase else None)
    row.save()
    # Not the first line, which all keys of this kind have in common.
    body = key.plain.value.splitlines()[1:-1][-2]
    leaks = Leaks.of(body, *filter(None, [passphrase]), folders=[tmp_path, Path("/dev/shm")])
    before = agents()
    with leaks.watched():
        mirror = mirror_of(project)
        mirror.update()
        mirror.update()
    assert mirror.resolve("main")
    assert not leaks.found
    deadline = time.monotonic() + 10  # others may run tests with agents at the same time
    while not agents() <= before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert agents() <= before


def agents() -> set[str]:
    found = set()
    for name in Path("/proc").glob("[0-9]*/comm"):
        try:
            if name.read_text().strip() == "ssh-agent":
                found.add(name.parent.name)
        except OSError:
            continue
    return found


def test_a_git_server_with_another_host_key_is_refused(
    deploy_key_server: tuple[str, str, Path], settings: Settings
) -> None:
    url, host_key, authorized = deploy_key_server
    key = make_private_key()
    authorized.write_text(f"{key.public_line}\n")
    project = make_project(settings, url)
    another = f"{host_key.split()[0]} {make_private_key().public_line}"
    row = Credential(name="deploy-key", kind="git-key", host="127.0.0.1", known_hosts=another)
    row.put(key.plain)
    row.save()
    with pytest.raises(CodeError, match="host key is not one that the credential deploy-key names"):
        mirror_of(project).update()


LOGINS = [
    "https://user:hunter2@git.example.org/shop.git",
    "https://hunter2@git.example.org/shop.git",
    "HTTPS://user:hunter2@git.example.org/shop.git",
    "ssh://git:hunter2@git.example.org/shop.git",
    "http://user:hunter2@git.example.org/shop.git",
]


@pytest.mark.parametrize("url", LOGINS)
def test_a_url_with_a_login_is_refused_with_what_to_do(url: str) -> None:
    with pytest.raises(ValidationError, match="Add a credential") as refused:
        validate_repository(url)
    assert "hunter2" not in str(refused.value)
    # And by the worker, if the row was written around the form.
    project = Project.objects.create(name="shop", repository=url)
    with pytest.raises(InvalidRow, match="Add a credential") as by_worker:
        mirror_of(project)
    assert "hunter2" not in str(by_worker.value)


@pytest.mark.parametrize("scheme", ["http", "git"])
def test_code_comes_unencrypted_only_from_hosts_that_settings_name(
    scheme: str, settings: Settings
) -> None:
    url = f"{scheme}://Git.example.org:8080/shop.git"
    with pytest.raises(ValidationError, match=r"not encrypted.*INSECURE_REPOSITORIES"):
        validate_repository(url)
    settings.DEPLOY_MANAGER = {"INSECURE_REPOSITORIES": ["git.example.org"]}
    validate_repository(url)


def test_a_direct_pin_has_no_password_either() -> None:
    commit = "0" * 40
    validate_direct_url(f"git+ssh://git@git.example.org/kit.git@{commit}")
    validate_direct_url(f"git+https://git.example.org/kit.git@{commit}")
    for login in ("git+https://user:hunter2@", "git+https://hunter2@", "git+ssh://git:hunter2@"):
        with pytest.raises(ValidationError):
            validate_direct_url(f"{login}git.example.org/kit.git@{commit}")


def test_an_early_mirror_whose_address_had_a_password_is_not_asked_for_it(
    repository: Repository, tmp_path: Path, settings: Settings
) -> None:
    project = make_project(settings, str(repository.path))
    mirror = mirror_of(project)
    mirror.update()
    words = ["git", "--git-dir", str(mirror.folder), "remote", "set-url", "origin", "/nowhere"]
    subprocess.run(words, check=True)
    commit = repository.commit("Second", {"b.txt": "2"})
    mirror.update()
    assert mirror.resolve("main").hash == commit
