"""Whatever is sent, no answer is a crash, and each fits what the schema says."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
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

from deploy_manager.api.main import api
from deploy_manager.api.reference import as_markdown
from deploy_manager.models import Token
from deploy_manager.models.tokens import Scope
from tests.parts.api import Caller, operations
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


def test_the_page_of_the_docs_is_what_the_schema_says() -> None:
    """Else run script/api-reference."""
    written = (Path(__file__).parent.parent / "docs/api-reference.md").read_text()
    assert written == as_markdown(api.get_openapi_schema(path_prefix="/"))


def test_every_operation_says_what_it_does() -> None:
    for each in operations().values():
        assert each.definition.raw.get("description"), each.label


def test_the_page_of_the_site_needs_nothing_from_elsewhere_and_no_script() -> None:
    answer = Caller().get("docs")
    text = answer.content.decode()
    assert "/deploy/api/v1/deployments/{number}/events" in text
    assert "<script" not in text
    assert re.findall(r'(?:src|href)="([^"]*)"', text) == ["/deploy/api/v1/openapi.json"]
    nonce = re.findall(r'<style nonce="([^"]+)"', text)
    policy = answer["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert f"style-src 'nonce-{nonce[0]}'" in policy


def test_the_schema_needs_no_token_and_names_its_own_addresses() -> None:
    schema = Caller().get("openapi.json").json()
    assert "/deploy/api/v1/me" in schema["paths"]
    assert schema["openapi"].startswith("3.")
