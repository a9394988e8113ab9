"""Every command, called with what no client sends: always an answer a client understands, never a 530."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mgmt.api.app import load_commands
from mgmt.api.registry import REGISTRY, Registered
from mgmt.api.testing import Client, open_api
from mgmt.drivers.simulator import Simulator
from mgmt.ops.runtime import Runtime
from mgmt.pki.authority import Authority
from tests.unit.mgmt.api.matrix.people import populate
from tests.unit.mgmt.api.matrix.rows import Rows
from tests.unit.mgmt.api.matrix.test_matrix import named, refs_of, sample, tables_of

pytestmark = pytest.mark.unit

load_commands()
COMMANDS = [item for item in REGISTRY.all() if item.name not in ("login", "logout")]
EXAMPLES = 12
REFUSALS = {400, 405, 429, 431, 432, 511, 531, 532, 533, 534, 535, 536, 537}
"""What clients take as a refusal; 530 is a fault of the server."""

HOSTILE = st.sampled_from(
    [
        *(
            "",
            " ",
            "-1",
            "0",
            "1",
            "65536",
            "9" * 30,
            "1e309",
            "NaN",
            "true",
            "null",
            "None",
            "[]",
            "{}",
            "a,b,,c",
        ),
        *(
            "../../etc/passwd",
            "$(reboot)",
            "'; drop table vm; --",
            "%00%ff",
            "\x00",
            "\r\nSet-Cookie: a=b",
            "é" * 300,
        ),
        *(
            "00000000-0000-0000-0000-000000000000",
            "2026-13-45",
            "10.0.0.0/33",
            "::1",
            "256.1.1.1",
            "10.1.1.0/24",
        ),
        *(
            "file:///etc/passwd",
            "http://169.254.169.254/",
            "http://[::1]:1/",
            "PT1H",
            "tcp",
            "*",
            "Running",
            "A" * 5000,
        ),
    ]
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, dict[type[Any], str]]]:
    folder = tmp_path_factory.mktemp("fuzz")
    with open_api(folder) as api:
        context = api.context
        context.parts[Runtime] = Runtime(
            database=context.database,
            seal=context.seal,
            authority=Authority(folder / "pki"),
            drivers={"simulator": Simulator()},
        )
        with context.database.writing() as session:
            people = populate(session)
            rows = Rows(session, people)
            tables = {
                table for item in COMMANDS for parameter in item.parameters for table in tables_of(parameter)
            }
            ids = {table: rows.of(table, people["alice"]) for table in tables}
        yield api.client("admin"), ids


def forms(registered: Registered, ids: dict[type[Any], str]) -> st.SearchStrategy[dict[str, str]]:
    """Each parameter well-formed, hostile, or not there."""
    choices = []
    for parameter in registered.parameters:
        good = named(parameter, ids[tables_of(parameter)[0]]) if refs_of(parameter) else sample(parameter)
        bad = st.builds(lambda key, text: {key: text}, st.sampled_from([*good, parameter.name]), HOSTILE)
        nothing = st.just(good) if parameter.required else st.just({})
        choices.append(st.one_of(st.just(good), bad, nothing))
    return st.tuples(*choices).map(lambda parts: {key: text for part in parts for key, text in part.items()})


@pytest.mark.parametrize("registered", COMMANDS, ids=lambda item: item.name)
def test_no_input_is_a_fault_of_the_server(
    world: tuple[Client, dict[type[Any], str]], registered: Registered
) -> None:
    client, ids = world

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(form=forms(registered, ids))
    def call(form: dict[str, str]) -> None:
        answer = client(registered.name, **form)
        assert answer.status == 200 or answer.status in REFUSALS, (form, answer.body)
        if answer.status != 200:
            assert answer.body["errorcode"] == answer.status
            assert len(answer.error) > 10

    call()
