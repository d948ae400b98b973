"""The processes of a site on Debian servers: supervised, proven, and back after a power cycle."""

from dataclasses import replace

import pytest

from deploy_manager.exceptions import CommandFailed
from deploy_manager.recipes import HealthCheck, Process, Reload
from tests.parts.machine_site import FILES, MachineSite
from tests.parts.served import wait_until

pytestmark = pytest.mark.machines

USER = pytest.mark.parametrize("supervisor", ["systemd-user", "systemd"])


@USER
def test_gunicorn_runs_as_a_unit_and_hands_over(machine_site: MachineSite, supervisor: str) -> None:
    site = machine_site
    site.change(supervisor=supervisor)
    assert "web 1: 2 of its 2 processes run release r1" in site.deploy("r1")
    assert site.units() == ["shop-production-web@1.service"]
    printed = site.deploy("r2")
    assert "Replacing the gunicorn master" in printed
    assert "Status 200, from release r2." in printed
    assert site.units() == ["shop-production-web@1.service"]
    assert site.said() == "r2"
    with pytest.raises(CommandFailed, match="does not start"):
        site.deploy("r3", config__wsgi="import nothing_of_that_name")
    assert site.said() == "r2"
    site.switch_to("r2")
    site.power_cycle()
    assert site.units() == ["shop-production-web@1.service"]


def test_a_number_that_a_power_cut_left_behind_keeps_nothing_down(
    machine_site: MachineSite,
) -> None:
    """The pid file is on the disk still, and its number is another process's after the boot."""
    site = machine_site
    site.run_processes(Process("beat", "beat"))
    site.deploy("r1")
    own = "$(pgrep -u deploy -f 'systemd --user')"
    site.machine.run("systemctl --user stop 'shop-*'")
    site.machine.run(f"echo {own} >{site.path}/.deploy/gunicorn.pid")
    site.machine.run(f"echo {own} >{site.path}/current/celerybeat.pid")
    site.machine.power_cycle()
    wait_until(lambda: site.said() == "r1")
    site.connect()
    assert site.units() == ["shop-production-beat@1.service", "shop-production-web@1.service"]
    assert set(site.machine.run("systemctl --user show -P NRestarts 'shop-*'").split()) == {"0"}


def test_what_a_site_printed_is_shown_if_its_check_fails(machine_site: MachineSite) -> None:
    with pytest.raises(CommandFailed, match="No module named 'nothing_of_that_name'"):
        machine_site.deploy("r1", config__urls="import nothing_of_that_name")


ASGI = Process("web", "asgi", bind="{bind}")
DAPHNE = Process("web", "asgi", command="daphne --fd {fd} {application}", bind="{bind}")


@pytest.mark.parametrize("process", [ASGI, DAPHNE], ids=["uvicorn", "daphne"])
def test_an_asgi_site_is_served_on_a_socket_that_outlives_it(
    machine_site: MachineSite, process: Process
) -> None:
    site = machine_site
    site.run_processes(replace(process, bind=site.site.reload.bind))
    site.deploy("r1")
    units = ["shop-production-web.socket", "shop-production-web@1.service"]
    assert site.units() == units
    with site.asking() as answers:
        site.deploy("r2")
    assert {"r1", "r2"} <= set(answers)
    # daphne drops what it is answering when it is asked to end.
    assert process is DAPHNE or set(answers) == {"r1", "r2"}
    site.power_cycle()
    assert site.units() == units


def test_workers_and_beat_are_proven_and_restarted(machine_site: MachineSite) -> None:
    site = machine_site
    worker = Process("worker", "worker", number=2, health="ping")
    site.run_processes(worker, Process("beat", "beat"))
    printed = site.deploy("r1")
    assert "worker: its check passed." in printed
    assert site.units() == [f"shop-production-{n}.service" for n in NAMES]
    wait_until(lambda: "r1" in site.ticks())
    site.deploy("r2")
    wait_until(lambda: "r2" in site.ticks())
    site.run_processes()
    assert "Ending shop-production-beat@1.service" in site.deploy("r3")
    assert site.units() == ["shop-production-web@1.service"]


NAMES = ("beat@1", "web@1", "worker@1", "worker@2")


def test_a_process_that_dies_or_does_not_answer_fails(machine_site: MachineSite) -> None:
    site = machine_site
    site.run_processes(Process("mailer", "command", command="sleep 1; exit 3"))
    with pytest.raises(CommandFailed, match=r"mailer 1: .*restarted"):
        site.deploy("r1")
    mailer = Process("mailer", "command", command="sleep 600")
    site.run_processes(replace(mailer, health="command", health_target="test -e ready.py"))
    with pytest.raises(CommandFailed, match="mailer: its check failed"):
        site.deploy("r2")
    assert "mailer 1: 1 of its 1 processes run release r3" in site.deploy("r3", ready="")


def test_what_fails_after_some_seconds_is_waited_for(machine_site: MachineSite) -> None:
    """As long as a process of Django takes to be imported, and to find its address taken."""
    site = machine_site
    site.change(processes=(Process("mailer", "command", command="sleep 4; exit 3"),))
    with pytest.raises(CommandFailed, match=r"mailer 1: .*restarted"):
        site.deploy("r1")


def test_a_procfile_is_run_as_it_stands(machine_site: MachineSite) -> None:
    site = machine_site
    site.change(procfile=True)
    site.make("r1")
    site.write(
        "r1/Procfile",
        "web: gunicorn config.wsgi --bind 0.0.0.0:$PORT --workers 2\n"
        "clock: while true; do sleep 1; done\nrelease: python manage.py migrate\n",
    )
    printed = site.switch_to("r1")
    assert "clock 1:" in printed
    assert site.units() == [
        *("shop-production-clock@1.service", "shop-production-web.socket"),
        "shop-production-web@1.service",
    ]
    assert site.said() == "r1"


def test_what_was_started_in_another_way_is_ended(machine_site: MachineSite) -> None:
    site = machine_site
    for supervisor, units in {
        "starter": [],
        "systemd-user": ["shop-production-web@1.service"],
        "systemd": ["shop-production-web@1.service"],
    }.items():
        site.change(supervisor=supervisor)
        site.deploy(supervisor)
        assert site.units() == units
        assert site.said() == supervisor
        assert site.masters() == 1
    site.change(supervisor="starter")
    site.deploy("again")
    assert site.units() == []
    assert site.masters() == 1


def test_a_process_of_another_kind_takes_over_its_name_and_its_address(
    machine_site: MachineSite,
) -> None:
    site = machine_site
    web = Process("web", "wsgi", bind=site.site.reload.bind)
    for release, process in {
        "wsgi": web,
        "asgi": replace(web, kind="asgi"),
        "command": replace(web, command="gunicorn config.wsgi --bind {bind}"),
        "again": replace(web, memory=900),
    }.items():
        site.run_processes(process)
        site.deploy(release)
        assert site.said() == release
    with site.asking() as answers:
        site.run_processes(replace(web, memory=800, stop_seconds=20))
        site.deploy("limits")
    assert set(answers) == {"again", "limits"}


def test_an_address_that_something_else_has_is_found(machine_site: MachineSite) -> None:
    site = machine_site
    host, _colon, port = site.site.reload.bind.partition(":")
    site.machine.run(f"nohup python3 -m http.server {port} --bind {host} >/dev/null 2>&1 &")
    with pytest.raises(CommandFailed, match="does not start"):
        site.deploy("r1")
    site.run_processes(Process("web", "asgi", bind=site.site.reload.bind))
    with pytest.raises(CommandFailed, match=r"can't listen on .*: is it taken by process"):
        site.deploy("r2")


def test_without_systemd_cron_starts_the_site_after_a_reboot(machine_site: MachineSite) -> None:
    site = machine_site
    site.change(supervisor="starter")
    site.run_processes(Process("mailer", "command", command="exec sleep 600"))
    assert "Nothing starts these processes after a reboot" in site.deploy("r1")
    site.machine.run(FAKE_CRON, user="root")
    assert "cron starts these processes after a reboot." in site.deploy("r2")
    site.machine.power_cycle()
    site.connect()
    site.machine.run("sh -c \"$(crontab -l | sed -n 's/^@reboot //p')\"")
    assert site.said() == "r2"
    assert site.machine.run("pgrep -c -x sleep").strip() == "1"
    site.run_processes()
    site.change(supervisor="auto")
    site.deploy("r3")
    assert site.machine.run("crontab -l").strip() == ""


FAKE_CRON = r"""
cat >/usr/bin/crontab <<'END'
#!/bin/sh
file=/home/deploy/crontab
case $1 in
-l) cat $file 2>/dev/null || { echo "no crontab for deploy" >&2; exit 1; } ;;
-) cat >$file ;;
esac
END
chmod 755 /usr/bin/crontab
cp /bin/sleep /usr/sbin/cron
setsid /usr/sbin/cron 600 </dev/null >/dev/null 2>&1 &
"""


def test_variables_are_there_from_the_start(machine_site: MachineSite) -> None:
    """PYTHONPATH counts only at the start of an interpreter; a successor has its own."""
    site = machine_site
    site.change(variables={"PYTHONPATH": "src", "COLOUR": "red"})
    urls = "from found import urlpatterns"
    site.make("r1", config__urls=urls)
    found = f"import os; {FILES['config/urls.py'].strip()}"
    site.write("r1/src/found.py", found)
    site.switch_to("r1")
    assert site.said() == "r1 red"
    site.change(variables={"PYTHONPATH": "lib"})
    site.make("r2", config__urls=urls)
    site.write("r2/lib/found.py", found)
    site.switch_to("r2")
    assert site.said() == "r2"


APACHE = """
cat >/etc/apache2/ports.conf <<'END'
Listen {bind}
END
cat >/etc/apache2/sites-enabled/000-default.conf <<'END'
<VirtualHost *>
    WSGIDaemonProcess shop user=deploy processes=2 threads=2
    WSGIProcessGroup shop
    WSGIApplicationGroup %{{GLOBAL}}
    WSGIScriptAlias / {file}
    <Directory />
        Require all granted
    </Directory>
</VirtualHost>
END
chmod 755 /home/deploy
systemctl enable --now apache2
"""


def test_mod_wsgi_serves_our_file_with_variables_and_names_its_release(
    machine_site: MachineSite,
) -> None:
    site = machine_site
    site.change(
        reload=Reload("touch", bind=site.site.reload.bind), variables={"COLOUR": 'it\'s "red"'}
    )
    site.make("r1")
    site.machine.run(f"ln -sfn releases/r1 {site.path}/current")
    file = f"{site.path}/site.wsgi"
    site.machine.run(APACHE.format(bind=site.site.reload.bind, file=file), user="root")
    assert "Status 200, from release r1." in site.switch_to("r1")
    assert site.said() == 'r1 it\'s "red"'
    with site.asking() as answers:
        assert "from release r2" in site.deploy("r2")
    assert {answer.split()[0] for answer in answers} == {"r1", "r2"}
    site.machine.run("mv /etc/apache2/sites-enabled/000-default.conf /tmp/", user="root")
    site.machine.run("systemctl restart apache2", user="root")
    with pytest.raises(CommandFailed, match="did not pass"):
        site.deploy("r3")


OWN_UNIT = """
cat >.config/systemd/user/own.service <<'END'
[Service]
WorkingDirectory={path}/current
EnvironmentFile={path}/.deploy/variables.env
ExecStart=/bin/sh -c 'printenv COLOUR >{path}/colour; exec sleep 600'
END
systemctl --user daemon-reload
"""


def test_a_unit_of_ones_own_reads_the_variables(machine_site: MachineSite) -> None:
    site = machine_site
    colour = "$red `%h` \"x\" 'y' \\ #z ä\nmore"
    site.change(
        reload=Reload("systemd-user", "own.service"),
        health=HealthCheck(deadline=5),
        variables={"COLOUR": colour},
    )
    site.machine.run("mkdir -p .config/systemd/user")
    site.machine.run(OWN_UNIT.format(path=site.path))
    site.deploy("r1")
    assert site.machine.run(f"cat {site.path}/colour") == colour + "\n"


CONFIGURATION = """
workers = 2
raw_env = ["COLOUR=blue"]
pythonpath = "src"

def on_starting(server):
    open("started", "a").write("x")
"""


def test_the_configuration_of_gunicorn_is_read(machine_site: MachineSite) -> None:
    site = machine_site
    site.make("r1")
    site.write("r1/gunicorn.conf.py", CONFIGURATION)
    assert "3 of its 3 processes run release r1" in site.switch_to("r1")
    assert site.said() == "r1 blue"
