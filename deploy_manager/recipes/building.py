"""Building a wheel from an sdist or a commit: once, on the server chosen as builder.

Its folder there is removed afterwards. The commands are in no journal: a worker that takes over
builds in another folder, or not at all, since the wheel is in the cache already.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import Cancelled, DeployManagerError, WheelError
from deploy_manager.logs import mask_text
from deploy_manager.messages import Message
from deploy_manager.recipes.host import (
    PRINT_VERSION,
    Builder,
    BuildHost,
    Site,
    python_problem,
)
from deploy_manager.recipes.packing import oldest_python, tags_zipapp, virtualenv_zipapp
from deploy_manager.recipes.shipping import (
    SHOWN_CHARACTERS,
    TOOL_RUNNER,
    remote_script,
    tool_command,
    tool_facts,
)
from deploy_manager.wheels.python import ServerPython

MOST_BYTES = 1024**3
"""The largest wheel that is downloaded from a builder."""

CHOOSE = Message(
    _(
        "Choose a builder in the environment: a server with this Python, a C library that is not"
        " newer, and access to a package index for the build requirements. Or pin a version that"
        " has a wheel."
    )
)


def build_wheel(site: Site, python: ServerPython, source: Path | str, target: Path) -> str:
    """Build an sdist, or what is at a URL, for a server's Python; return the wheel's name.

    The wheel is written to `target`. A `source` that is a text is `name @ URL`: the builder fetches
    it, and needs git for a commit. Raises Cancelled, and WheelError for anything else that fails on
    the builder: it must not count as a failure of the server that is deployed to.
    """
    builder, name = site.builder, source if isinstance(source, str) else source.name
    if builder is None:
        raise WheelError(
            _(
                "There is no wheel for %(python)s: %(name)s has to be built, "
                "but the environment has no builder. %(advice)s"
            ),
            python=python,
            name=name,
            advice=CHOOSE,
        )
    try:
        with builder.open() as host, _temporary_folder(host) as folder:
            found = _require_fit(host, site, builder, python, folder)
            _make_environment(host, site, builder, found, folder)
            return _build(host, site, source, target, folder)
    except (Cancelled, WheelError):
        raise
    except DeployManagerError as error:
        raise WheelError(
            _("%(name)s could not be built on %(builder)s: %(error)s"),
            name=name,
            builder=builder.name,
            error=error,
        ) from error


@contextmanager
def _temporary_folder(host: BuildHost) -> Iterator[str]:
    # Not in a deploy path: a builder need not have one.
    made = host.run('mktemp -d "${TMPDIR:-/tmp}/deploy_manager.XXXXXXXX"', quiet=True)
    folder = made.stdout.strip()
    try:
        yield folder
    finally:
        with suppress(DeployManagerError):
            host.run(["rm", "-rf", "--", folder], check=False, quiet=True)


def _require_fit(
    host: BuildHost, site: Site, builder: Builder, python: ServerPython, folder: str
) -> ServerPython:
    version = host.run([builder.python, "-c", PRINT_VERSION], quiet=True).stdout.strip()
    if problem := python_problem(builder.name, version, oldest_python()):
        raise WheelError(problem)
    tags = f"{folder}/tags.pyz"
    host.put(tags_zipapp(site.cache), tags)
    answer = host.run([builder.python, "-I", tags], quiet=True)
    try:
        found = ServerPython.from_output(answer.stdout)
    except ValueError:
        raise WheelError(
            _("%(name)s does not report which wheels it builds: check its Python."),
            name=builder.name,
        ) from None
    if not found.may_build_for(python):
        raise WheelError(
            _("%(name)s has %(found)s, which can't build for %(python)s. %(advice)s"),
            name=builder.name,
            found=found,
            python=python,
            advice=CHOOSE,
        )
    return found


def _make_environment(
    host: BuildHost, site: Site, builder: Builder, found: ServerPython, folder: str
) -> None:
    packed = f"{folder}/virtualenv.pyz"
    host.put(virtualenv_zipapp(site.cache, found.markers["python_full_version"]), packed)
    script = f"{folder}/{TOOL_RUNNER}"
    host.put(remote_script(TOOL_RUNNER), script)
    # A periodic update would stay behind as a process that asks an index for newer seeds.
    options = ["--app-data", f"{folder}/app-data", "--no-periodic-update", "--no-setuptools"]
    make = [packed, "--quiet", *options, f"{folder}/venv"]
    host.run(tool_command(builder.python, script, make), stdin=tool_facts(site, make))


def _build(host: BuildHost, site: Site, source: Path | str, target: Path, folder: str) -> str:
    name = what = source if isinstance(source, str) else source.name
    if not isinstance(source, str):
        what = f"{folder}/{source.name}"
        host.put(source, what)
    pip = ["pip", "--no-input", "--disable-pip-version-check"]
    options = ["--quiet", "--no-deps", "--wheel-dir", f"{folder}/made"]
    words = [*pip, "wheel", *options, what]
    command = tool_command(f"{folder}/venv/bin/python", f"{folder}/{TOOL_RUNNER}", words)
    # The index goes by stdin, since any account can read a command line in the process list.
    built = host.run(command, stdin=tool_facts(site, words), check=False)
    if not built.ok:
        last_line = mask_text(built.stderr.strip() or built.stdout.strip())[-SHOWN_CHARACTERS:]
        raise WheelError(
            _("%(name)s could not be built on %(builder)s:\n%(last_line)s"),
            name=name,
            builder=host.name,
            last_line=last_line,
        )
    made = host.run(["ls", f"{folder}/made"], quiet=True).stdout.splitlines()
    # A builder may answer anything, and the name becomes part of a path.
    if len(made) != 1 or "/" in made[0]:
        raise WheelError(
            _("%(name)s was built into %(made)s wheels instead of one."),
            name=name,
            made=len(made),
        )
    host.get(f"{folder}/made/{made[0]}", target, MOST_BYTES)
    return made[0]
