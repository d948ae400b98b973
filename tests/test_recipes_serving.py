"""A reload makes gunicorn serve the current release, and leaves exactly one master."""

import os
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from deploy_manager.exceptions import Cancelled, CommandFailed, RecipeError
from deploy_manager.hosts.address import Stream
from deploy_manager.recipes import Reload
from deploy_manager.recipes.serving import reload
from tests.parts.processes import free_port
from tests.parts.served import Served, make_venv, packages_of, wait_until

SLOW = """
import time
def application(environ, start_response):
    time.sleep(0.05)
    start_response("200 OK", [])
    return [b"{text}"]
"""

LATE = """
def application(environ, start_response):
    import late_code, late_package
    start_response("200 OK", [])
    return [f"{late_code.TEXT}, {late_package.TEXT}".encode()]
"""


def test_gunicorn_is_started_where_it_does_not_run(served: Served) -> None:
    served.release("one", COLOUR='it\'s "red"\n$HOME')

    reload(served.host, served.site)

    assert served.ask().text == 'one it\'s "red"\n$HOME'
    assert served.masters() == [served.master]


def test_a_reload_serves_new_code_with_new_variables(served: Served) -> None:
    served.release("one", COLOUR="red", ONLY_ONE="1")
    reload(served.host, served.site)
    old = served.master

    served.release("two", COLOUR="blue")
    reload(served.host, served.site)

    assert served.ask().text == "two blue"
    assert served.masters() == [served.master]
    assert served.master != old


def test_a_variable_that_is_gone_is_gone(served: Served) -> None:
    served.release("one", COLOUR="red")
    reload(served.host, served.site)

    served.release("two")
    reload(served.host, served.site)

    assert served.ask().text == "two "


def test_reloads_follow_one_another(served: Served) -> None:
    for name in ("one", "two", "three"):
        served.release(name)
        reload(served.host, served.site)

        assert served.ask().text == f"{name} "
        assert served.masters() == [served.master]


def test_no_request_is_lost_during_a_reload(served: Served) -> None:
    served.reload = replace(served.reload, workers=2)
    served.release("one", SLOW.format(text="one"))
    reload(served.host, served.site)
    answers: list[str] = []
    enough = threading.Event()

    def keep_asking() -> None:
        while not enough.is_set():
            answers.append(served.ask().text)

    askers = [threading.Thread(target=keep_asking) for _ in range(4)]
    for asker in askers:
        asker.start()
    served.release("two", SLOW.format(text="two"))
    reload(served.host, served.site)
    after = len(answers)
    wait_until(lambda: len(answers) > after + 8)
    enough.set()
    for asker in askers:
        asker.join()

    assert set(answers[:4]) == {"one"}
    assert set(answers[after + 8 :]) <= {"two"}
    assert set(answers) == {"one", "two"}


def test_a_release_that_does_not_start_leaves_the_old_one_serving(served: Served) -> None:
    served.release("one")
    reload(served.host, served.site)
    old = served.master

    served.release("two", "import no_such_module")
    with pytest.raises(CommandFailed, match="No module named 'no_such_module'"):
        reload(served.host, served.site)

    assert served.ask().text == "one "
    assert served.masters() == [served.master] == [old]


def test_a_release_that_does_not_start_at_first_leaves_nothing(served: Served) -> None:
    served.release("one", "import no_such_module")

    with pytest.raises(CommandFailed, match="No module named 'no_such_module'"):
        reload(served.host, served.site)

    assert served.masters() == []


def test_after_a_broken_release_a_good_one_serves(served: Served) -> None:
    served.release("one")
    reload(served.host, served.site)
    served.release("two", "import no_such_module")
    with pytest.raises(CommandFailed):
        reload(served.host, served.site)

    served.release("three")
    reload(served.host, served.site)

    assert served.ask().text == "three "
    assert served.masters() == [served.master]


def test_our_gunicorn_ends_once_the_site_is_served_in_another_way(served: Served) -> None:
    """It would hold the address, and answer from the old release for ever."""
    served.release("one")
    reload(served.host, served.site)
    served.reload = Reload("command", "true")
    reload(served.host, served.site)
    assert served.masters() == []
    reload(served.host, served.site)  # nothing is left to end


def test_our_gunicorn_serves_again_if_the_other_way_is_refused(served: Served) -> None:
    served.release("one")
    reload(served.host, served.site)
    bind = served.reload.bind
    served.reload = Reload("command", "echo no such unit >&2; false", bind=bind)
    served.release("two")
    with pytest.raises(CommandFailed):
        reload(served.host, served.site)
    assert served.ask().text == "two "


def test_a_release_imports_its_own_code_and_packages_however_late(
    served: Served, tmp_path: Path
) -> None:
    _release_with_late_imports(served, "one", make_venv(tmp_path / "venv-one"))
    reload(served.host, served.site)

    _release_with_late_imports(served, "two", make_venv(tmp_path / "venv-two"))
    assert served.ask().text == "code of one, package of one"

    reload(served.host, served.site)
    assert served.ask().text == "code of two, package of two"


def _release_with_late_imports(served: Served, name: str, venv: Path) -> None:
    served.venv = venv
    release = served.release(name, LATE)
    (release / "late_code.py").write_text(f"TEXT = 'code of {name}'")
    (packages_of(venv) / "late_package.py").write_text(f"TEXT = 'package of {name}'")


@pytest.mark.parametrize("left", ["a number nobody has", "another program's number", "no number"])
def test_a_stale_pid_file_stops_nobody(served: Served, left: str) -> None:
    stranger = subprocess.Popen(["sleep", "60"])
    number = {"a number nobody has": "4194999", "no number": "?"}.get(left, str(stranger.pid))
    try:
        served.release("one")
        served.pid_file.parent.mkdir()
        served.pid_file.write_text(number)

        reload(served.host, served.site)

        assert served.ask().text == "one "
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_master_whose_pid_file_is_lost_is_replaced(served: Served) -> None:
    served.release("one")
    reload(served.host, served.site)
    served.pid_file.unlink()

    served.release("two")
    reload(served.host, served.site)

    assert served.ask().text == "two "
    assert served.masters() == [served.master]


def test_a_second_master_left_by_a_cut_off_reload_is_ended(served: Served) -> None:
    served.release("one")
    reload(served.host, served.site)
    served.release("two")
    os.kill(served.master, signal.SIGUSR2)
    wait_until(lambda: len(served.masters()) == 2)

    served.release("three")
    reload(served.host, served.site)

    assert served.ask().text == "three "
    assert served.masters() == [served.master]


def test_cancelling_leaves_the_old_release_serving_alone(served: Served) -> None:
    served.release("one")
    reload(served.host, served.site)
    old = served.master
    served.release("two", "import time; time.sleep(60)")

    with ThreadPoolExecutor() as pool:
        reloading = pool.submit(reload, served.host, served.site)
        wait_until(lambda: len(served.masters()) == 2)
        served.cancelled.set()
        with pytest.raises(Cancelled):
            reloading.result()

    assert served.masters() == [served.master] == [old]
    assert served.ask().text == "one "


@pytest.mark.parametrize("moment", ["before its old master has heard of it", "while it loads"])
def test_whenever_it_is_cancelled_no_release_starts_later(served: Served, moment: str) -> None:
    """A stopped command has two seconds until it is killed: a slow import must not outlive it."""
    served.release("one")
    reload(served.host, served.site)
    old = served.master
    served.release("two", "while True:\n try:\n  while True: pass\n except SystemExit: pass")
    os.kill(old, signal.SIGSTOP if moment.startswith("before") else 0)

    with ThreadPoolExecutor() as pool:
        reloading = pool.submit(reload, served.host, served.site)
        if moment.startswith("before"):
            wait_until(lambda: b"Replacing" in served.log.of(Stream.STDOUT))
        else:
            wait_until(lambda: len(served.processes()) == 4)  # each master with its worker
        served.cancelled.set()
        time.sleep(0.5)
        os.kill(old, signal.SIGCONT)
        with pytest.raises(Cancelled):
            reloading.result()

    assert served.masters() == [old]
    time.sleep(0.5)
    assert served.masters() == [served.master] == [old]
    assert served.ask().text == "one "


def test_a_site_in_a_folder_of_the_code_listens_on_a_socket_file(
    served: Served, tmp_path: Path
) -> None:
    served.folder = "src"
    served.reload = replace(served.reload, bind=f"unix:{tmp_path}/http.sock")
    for name in ("one", "two"):
        served.release(name)
        reload(served.host, served.site)

        assert served.ask().text == f"{name} "


def test_another_address_is_listened_on_after_a_reload(served: Served) -> None:
    served.release("one")
    reload(served.host, served.site)

    served.reload = replace(served.reload, bind=f"127.0.0.1:{free_port()}")
    reload(served.host, served.site)

    assert served.ask().text == "one "
    assert served.masters() == [served.master]


def test_the_application_is_found_by_the_settings_of_manage_py(served: Served) -> None:
    served.reload = replace(served.reload, wsgi="")
    release = served.release("one")
    (release / "manage.py").write_text(
        'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")\n'
    )
    (release / "shop").mkdir()
    (release / "shop" / "settings.py").write_text("WSGI_APPLICATION = 'site_wsgi.application'")

    reload(served.host, served.site)

    assert served.ask().text == "one "


def test_options_of_gunicorn_are_taken_from_its_variable(served: Served) -> None:
    served.release("one", GUNICORN_CMD_ARGS="--threads 3")
    reload(served.host, served.site)

    assert "Using worker: gthread" in (served.path / ".deploy" / "gunicorn.log").read_text()


def test_without_gunicorn_it_says_what_to_add(served: Served, bare_venv: Path) -> None:
    served.venv = bare_venv
    served.release("one")

    with pytest.raises(CommandFailed, match="add it to the requirements"):
        reload(served.host, served.site)


def test_before_a_first_release_it_says_so(served: Served) -> None:
    with pytest.raises(CommandFailed, match="deploy the site to this server first"):
        reload(served.host, served.site)


def test_without_an_address_it_asks_for_one(served: Served) -> None:
    served.reload = replace(served.reload, bind="")

    with pytest.raises(RecipeError, match="No address for gunicorn is set"):
        reload(served.host, served.site)
