"""Secrets of a day are nowhere in clear: not in the database, files, logs, jobs, events or metrics."""

import base64
import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from sqlalchemy import MetaData, create_engine, inspect, make_url, select

from mgmt.metrics.page import TOKEN_FILE
from tests.contract.mgmt.secrets_day import Day
from tests.mgmt_server import run_server
from tests.postgres import postgres

pytestmark = pytest.mark.contract

#: Files that are secrets themselves.
SECRET_FILES = {"seal.key", "admin-password", TOKEN_FILE}
#: User data is what its owner and the guest read again, so it is kept as it came: there, and nowhere else.
USER_DATA_COLUMN = ("vm", "user_data")
USER_DATA = frozenset({"user data", "user data of a failure"})
NOTHING: frozenset[str] = frozenset()
LISTS = (
    "listAsyncJobs",
    "listEvents",
    "listAlerts",
    "listAccounts",
    "listUsers",
    "listHosts",
    "listVirtualMachines",
    "listTemplates",
)


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    home = tmp_path_factory.mktemp("canaries")
    with run_server(home, log_level="DEBUG") as server, ExitStack() as stack:
        yield Day(server, server.client(), stack).live()


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture(scope="module")
def day_on_postgres(tmp_path_factory: pytest.TempPathFactory, postgres_url: str) -> Iterator[Day]:
    """The same day, for what depends on the store."""
    home = tmp_path_factory.mktemp("canaries-on-postgres")
    with run_server(home, log_level="DEBUG", database_url=postgres_url) as server, ExitStack() as stack:
        yield Day(server, server.client(), stack).live()


def forms(secret: str) -> set[str]:
    """A secret as it may look where it leaked."""
    encoded = base64.b64encode(secret.encode()).decode().rstrip("=")
    return {secret, quote(secret, safe=""), json.dumps(secret)[1:-1], encoded}


def leaks(day: Day, text: str, *, without: frozenset[str] = NOTHING) -> list[str]:
    """The names of the secrets in a text."""
    return [
        name
        for name, secret in day.known.items()
        if name not in without and any(form in text for form in forms(secret))
    ]


def databases(day: Day) -> list[Path]:
    return sorted((day.server.log.parent / "mgmt").glob("*.db"))


def leaks_in_tables(day: Day, url: str) -> tuple[list[tuple[str, str, str]], set[str]]:
    """Table, column and secret of each leak in a database; the names of all its tables, in all schemas."""
    engine, metadata, found = create_engine(url), MetaData(), []
    for schema in set(inspect(engine).get_schema_names()) - {"information_schema", "pg_catalog"}:
        metadata.reflect(engine, schema)
    with engine.connect() as connection:
        for table in metadata.tables.values():
            rows = connection.execute(select(table)).all()
            for column, values in zip(table.columns.keys(), zip(*rows, strict=True), strict=False):
                text = "\n".join(map(str, values))
                found += [(table.name, column, leak) for leak in leaks(day, text)]
    engine.dispose()
    return found, {table.name for table in metadata.tables.values()}


def assert_only_user_data(found: list[tuple[str, str, str]]) -> None:
    """That it is found shows that the others would be, too."""
    assert [leak for leak in found if leak[:2] != USER_DATA_COLUMN or leak[2] not in USER_DATA] == []
    assert {leak[2] for leak in found} == USER_DATA


def test_the_day_has_secrets_of_every_kind(day: Day) -> None:
    assert all(len(secret) >= 8 for secret in day.known.values()), day.known.keys()
    assert len(day.known) > 20
    assert len(day.refused) > 10


def test_no_table_has_one(day: Day) -> None:
    found, names = [], set()
    for file in databases(day):
        leaked, tables = leaks_in_tables(day, f"sqlite:///file:{file}?mode=ro&uri=true")
        found += leaked
        names |= tables
    assert_only_user_data(found)
    assert {file.name for file in databases(day)} == {"mgmt.db", "jobs.db"}, "the cloud's own, and DBOS's"
    assert len(names) > 60


def test_no_table_of_postgresql_has_one(day_on_postgres: Day, postgres_url: str) -> None:
    found, names = leaks_in_tables(day_on_postgres, postgres_url)
    assert_only_user_data(found)
    assert {"vm", "user", "job", "workflow_status", "operation_outputs"} <= names, "DBOS's are among them"
    assert len(names) > 60


def test_no_file_has_one_where_the_tables_are_in_postgresql(day_on_postgres: Day, postgres_url: str) -> None:
    """Also not the log of the database, which shows statements that failed."""
    home, found, read = day_on_postgres.server.log.parent, [], []
    log = Path(str(make_url(postgres_url).query["host"])) / "log"
    for file in (log, *sorted(item for item in home.rglob("*") if item.is_file())):
        if file.name not in SECRET_FILES:
            read.append(file.name)
            text = file.read_bytes().decode("latin-1")
            found += [(file.name, leak) for leak in leaks(day_on_postgres, text)]
    assert not found
    assert {"log", "server.log", "mgmt.json"} <= set(read)
    assert databases(day_on_postgres) == []


def test_no_file_has_one(day: Day) -> None:
    home, found, read = day.server.log.parent, [], []
    for file in sorted(item for item in home.rglob("*") if item.is_file()):
        if file.name in SECRET_FILES:
            continue
        read.append(file.name)
        text = file.read_bytes().decode("latin-1")
        allowed = USER_DATA if file.name.startswith("mgmt.db") else NOTHING
        found += [(file.name, leak) for leak in leaks(day, text, without=allowed)]
    assert not found
    assert {"server.log", "mgmt.db", "jobs.db", "mgmt.json"} <= set(read)


def test_the_log_is_a_talkative_one(day: Day) -> None:
    assert " DEBUG " in day.server.log.read_text()


def test_no_refusal_repeats_one(day: Day) -> None:
    """But for the name of somebody who cannot log in, which is CloudStack's own sentence to this caller."""
    assert not leaks(day, "\n".join(day.refused), without=frozenset({"password typed as user name"}))


@pytest.mark.parametrize("command", LISTS)
def test_no_administrator_reads_one(day: Day, command: str) -> None:
    more = {"templatefilter": "all"} if command == "listTemplates" else {}
    answer = json.dumps(getattr(day.admin, command)(listall=True, pagesize=500, page=1, **more))
    assert "count" in answer or command == "listAlerts"
    assert not leaks(day, answer)


def test_no_administrator_reads_one_in_the_result_of_a_job(day: Day) -> None:
    jobs = day.admin.listAsyncJobs(listall=True, pagesize=500, page=1)["asyncjobs"]
    of_bob = [job for job in jobs if job["account"] == "bob"]
    assert len(of_bob) > 3
    for job in of_bob:
        answer = json.dumps(day.admin.queryAsyncJobResult(jobid=job["jobid"]))
        assert not leaks(day, answer), job["cmd"]


def test_the_metrics_have_none(day: Day) -> None:
    token = (day.server.log.parent / "mgmt" / TOKEN_FILE).read_text().strip()
    answer = httpx.get(
        f"{day.server.address}/metrics", headers={"Authorization": f"Bearer {token}"}, trust_env=False
    )
    assert answer.status_code == 200
    assert re.search(r'pileus_vms\{[^}]*state="Running"[^}]*\} 1', answer.text)
    assert re.search(
        r'pileus_jobs_finished_total\{result="succeeded",workflow="[a-z._]+"\} [1-9]', answer.text
    )
    assert re.search(r'pileus_api_calls_total\{command="deployVirtualMachine",status="200"\} 2', answer.text)
    assert not leaks(day, answer.text)
    assert token not in day.server.log.read_text()
