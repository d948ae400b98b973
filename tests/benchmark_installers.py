"""`python -m tests.benchmark_installers`: pip against uv, side by side, with the demo's pins.

Each round makes and fills a new environment by each of them on a new server (a local folder), so
that nothing but the packages in the machine's own caches is there already.
"""

import statistics
import tempfile
import time
from pathlib import Path
from threading import Event

import django
from django.conf import settings

ROUNDS = 5
PINS = Path(__file__).parent.parent / "example_project/sample_site/requirements.txt"


def main() -> None:
    settings.configure(INSTALLED_APPS=["deploy_manager"])
    django.setup()
    with tempfile.TemporaryDirectory() as folder:
        seconds = measure(Path(folder))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, values in seconds.items():
        rounds = " ".join(f"{value:.1f}" for value in values)
        print(f"{name:4} median {medians[name]:.2f} s   ({rounds})")
    print(f"pip / uv = {medians['pip'] / medians['uv']:.2f}")


def measure(folder: Path) -> dict[str, list[float]]:
    """Return the seconds of every round; the first, which fills the caches, is left out."""
    seconds: dict[str, list[float]] = {"pip": [], "uv": []}
    for number in range(ROUNDS + 1):
        for installer, values in seconds.items():
            began = time.perf_counter()
            prepare(folder, f"{installer}-{number}", installer)
            if number:
                values.append(time.perf_counter() - began)
    return seconds


def prepare(folder: Path, name: str, installer: str) -> None:
    """Make and fill an environment on a server that has none."""
    from deploy_manager.hosts.address import Address  # noqa: PLC0415  Django comes first
    from deploy_manager.hosts.opening import open_host  # noqa: PLC0415  Django comes first
    from deploy_manager.recipes import Site, get_recipe  # noqa: PLC0415

    lock = PINS.read_text()
    site = Site(
        environment="shop/production",
        deploy_path=str(folder / name),
        release="r1",
        installer=installer,
        lock=lock,
        lock_digest=name,
        cache=folder / "tools",
    )
    Path(site.release_path).mkdir(parents=True)
    host = open_host(Address(name=name, local=True), lambda stream, data: None, Event())
    for recipe in ("make_virtualenv", "install_requirements"):
        get_recipe(recipe).function(host, site)


if __name__ == "__main__":
    main()
