"""What an index offers for pins: the files that the lock allows, and what those need."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from threading import Event
from time import monotonic

import requests
from django.utils.translation import gettext_noop as _
from packaging.metadata import parse_email
from packaging.requirements import InvalidRequirement, Requirement
from pypi_simple import DistributionPackage, PyPISimple
from pypi_simple.errors import DigestMismatchError, NoMetadataError

from deploy_manager.drift import is_version
from deploy_manager.exceptions import IndexUnreachable
from deploy_manager.messages import Message
from deploy_manager.requirements.index_facts import open_index, project_page
from deploy_manager.requirements.pins import Pin
from deploy_manager.wheels.choosing import may_be

TIME_LIMIT = 20.0
"""Seconds for all pins together."""

ASKED_AT_ONCE = 8
TIMEOUT = (5.0, 15.0)
"""Seconds to connect, and between two pieces of an answer."""


@dataclass(frozen=True)
class Offer:
    """What an index offers for one pin."""

    pin: Pin
    files: tuple[DistributionPackage, ...]
    """Those that the lock allows. None: the index does not have the version, or other files."""

    needs: tuple[Requirement, ...] | None = None
    """The requirements that its wheel declares; None: they are unknown."""

    @property
    def wheels(self) -> tuple[DistributionPackage, ...]:
        return tuple(one for one in self.files if one.package_type == "wheel")

    @property
    def requires_python(self) -> str:
        """As the index gives it; of a wheel if there is one, as pip prefers it."""
        best = next(iter((*self.wheels, *self.files)), None)
        return (best and best.requires_python) or ""


@dataclass(frozen=True)
class Offers:
    """The offers of one index; pins about which it gave no answer have none."""

    index: str
    of: tuple[Offer, ...] = ()
    problem: Message | None = None
    """Why there is none for some of the pins."""


def ask_offers(pins: Sequence[Pin], index_url: str, within: float = TIME_LIMIT) -> Offers:
    """Ask an index (blank: the worker's own) about pins, for at most so many seconds.

    Nothing is downloaded but pages and metadata. Never raises for an index.
    """
    until = monotonic() + within
    try:
        client = open_index(index_url)
    except IndexUnreachable as error:
        return Offers(index_url, problem=error.message)
    # Not by `with`: that would wait for an answer that does not come in time.
    pool = ThreadPoolExecutor(ASKED_AT_ONCE)
    is_gone = Event()
    asked = [pool.submit(partial(_offer, client, pin, is_gone)) for pin in pins]
    done = wait(asked, max(0.0, until - monotonic())).done
    pool.shutdown(wait=False, cancel_futures=True)
    offers: list[Offer] = []
    problems: list[Message] = []
    for future in asked:
        answer = future.result() if future in done else _late(client, within)
        (offers if isinstance(answer, Offer) else problems).append(answer)  # type: ignore[arg-type]
    if len(done) == len(asked):
        client.s.close()
    return Offers(client.endpoint, tuple(offers), next(iter(problems), None))


def _late(client: PyPISimple, within: float) -> Message:
    return Message(
        _("The package index %(index)s did not answer within %(seconds)s s."),
        IndexUnreachable.code,
        index=client.endpoint,
        seconds=f"{within:g}",
    ).masked()


def _offer(client: PyPISimple, pin: Pin, is_gone: Event) -> Offer | Message:
    if is_gone.is_set():
        return Message(_("The package index %(index)s can't be reached."), index=client.endpoint)
    try:
        page = project_page(client, pin.name)
    except IndexUnreachable as error:
        # Who can't connect for one package can't for the others: that may take long for each.
        if isinstance(error.__context__, (requests.ConnectionError, requests.Timeout)):
            is_gone.set()
        return error.message
    except Exception as error:
        # The border of a package: whatever happens with one, the others are asked about.
        return Message(f"{type(error).__name__}: {error}").masked()
    version = (one for one in page.packages if is_version(one.version or "", pin.version))
    offer = Offer(pin, tuple(one for one in version if may_be(one, pin)))
    described = next((one for one in offer.wheels if one.has_metadata), None)
    return Offer(pin, offer.files, _needs(client, described)) if described else offer


def _needs(client: PyPISimple, wheel: DistributionPackage) -> tuple[Requirement, ...] | None:
    # Without it only less is known beforehand: the installer checks it on the server again.
    with (
        suppress(
            requests.RequestException, NoMetadataError, DigestMismatchError, InvalidRequirement
        ),
        suppress(ValueError, TypeError),
    ):
        verify = bool(wheel.metadata_digests)
        text = client.get_package_metadata(wheel, verify=verify, timeout=TIMEOUT)
        raw, _unparsed = parse_email(text)
        return tuple(map(Requirement, raw.get("requires_dist", [])))
    return None
