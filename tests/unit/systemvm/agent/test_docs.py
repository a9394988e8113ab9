"""The agent's page names every route and every error."""

from pathlib import Path

import pytest

from systemvm.agent.errors import Forbidden
from systemvm.engine.errors import ApplyFailed, Busy, InvalidDocument, StaleGeneration
from systemvm.engine.renewal import NoRequest
from tests.unit.systemvm.agent.test_app import ROUTES

pytestmark = pytest.mark.unit
PAGE = (Path(__file__).parents[4] / "docs" / "agent.md").read_text()


@pytest.mark.parametrize("route", sorted(ROUTES))
def test_every_route_is_described(route: str) -> None:
    assert f"| `{route.replace('<path:path>', '<path>')}` |" in PAGE


@pytest.mark.parametrize("error", [Forbidden, StaleGeneration, Busy, InvalidDocument, ApplyFailed, NoRequest])
def test_every_refusal_is_described(error: type[Forbidden]) -> None:
    assert f"| {error.status} | `{error.code}` |" in PAGE
