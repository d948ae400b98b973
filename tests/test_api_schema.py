"""Whatever is sent, no answer is a crash, and each fits what the schema says."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from hypothesis.strategies import SearchStrategy
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from deploy_manager.models import Token
from deploy_manager.models.tokens import Scope
from tests.parts.api import operations
from tests.parts.rights import Team, make_team

pytestmark = pytest.mark.django_db

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]


@pytest.fixture(autouse=True)
def one_connection() -> Iterator[None]:
    """The requests share the test's transaction, as those of Django's own client do."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture
def team() -> Team:
    return make_team()


@pytest.fixture
def secret(team: Team) -> str:
    boss = User.objects.create(username="boss", is_superuser=True)
    return Token.objects.issue(boss, name="ci", scopes=list(Scope.values))[1]


@dataclass(frozen=True)
class Fuzzer:
    """Sends requests of one kind to every operation."""

    secret: str
    examples: int

    def fuzz(self, mode: GenerationMode, **fixed: Any) -> None:
        """Fail with all that was found, not only with the first."""
        failed = []
        for name, operation in operations().items():
            there = {key: value for key, value in fixed.items() if f"{{{key}}}" in operation.path}
            if fixed and not there:
                continue
            strategy = operation.as_strategy(generation_mode=mode, path_parameters=there or None)
            try:
                self._send(strategy)
            except Unsatisfiable:
                assert mode is GenerationMode.NEGATIVE  # what takes nothing can't be sent wrongly
            except BaseExceptionGroup as error:
                failed.append(f"{name}: {error}")
        assert not failed, "\n".join(failed)

    def _send(self, strategy: SearchStrategy[Any]) -> None:
        @settings(
            max_examples=self.examples,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy)
        def send(case: Any) -> None:
            cache.clear()
            headers = {"Authorization": f"Bearer {self.secret}"}
            case.call_and_validate(headers=headers, checks=CHECKS)

        send()


@pytest.fixture(params=[3, pytest.param(100, marks=pytest.mark.long)])
def fuzzer(request: pytest.FixtureRequest, secret: str) -> Fuzzer:
    return Fuzzer(secret, request.param)


def test_valid_requests(fuzzer: Fuzzer) -> None:
    fuzzer.fuzz(GenerationMode.POSITIVE)


def test_invalid_requests(fuzzer: Fuzzer) -> None:
    fuzzer.fuzz(GenerationMode.NEGATIVE)


def test_requests_that_reach_a_row(team: Team, fuzzer: Fuzzer) -> None:
    fuzzer.fuzz(
        GenerationMode.POSITIVE,
        number=team.key("deployment"),
        project=team.site.project.name,
        name=team.site.name,
    )
