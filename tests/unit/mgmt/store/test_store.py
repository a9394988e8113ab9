"""Database, migrations, sealing, passwords, defaults."""

import threading
from pathlib import Path

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError

from mgmt.bootstrap import open_store
from mgmt.store.database import Database
from mgmt.store.defaults import ISOLATED_OFFERING, add_defaults
from mgmt.store.migrate import differences, upgrade
from mgmt.store.passwords import generate_password, hash_password, password_matches
from mgmt.store.sealing import SealBroken, load_seal
from mgmt.store.tables import Account, DiskOffering, Domain, NetworkOffering, ServiceOffering, Setting, User
from mgmt.store.tables.base import now

pytestmark = pytest.mark.unit


def test_migrations_lead_to_the_tables_in_the_code(database: Database) -> None:
    assert differences(database) == []
    upgrade(database)
    with database.reading() as session:
        assert session.scalar(text("select version_num from alembic_version"))


def test_live_rows_are_unique_and_removed_ones_are_not(database: Database) -> None:
    with database.writing() as session:
        session.add(Domain(name="ROOT", path="/"))
    with pytest.raises(IntegrityError), database.writing() as session:
        session.add(Domain(name="again", path="/"))
    with database.writing() as session:
        session.scalars(select(Domain)).one().removed = now()
        session.flush()
        session.add(Domain(name="again", path="/"))
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Domain)) == 2


def test_a_commit_survives_the_loss_of_power(database: Database) -> None:
    if database.engine.dialect.name == "sqlite":
        with database.engine.connect() as connection:
            assert connection.scalar(text("pragma synchronous")) == 2
    else:
        with database.engine.connect() as connection:
            assert connection.scalar(text("show synchronous_commit")) == "on"


def test_foreign_keys_hold(database: Database) -> None:
    with pytest.raises(IntegrityError), database.writing() as session:
        session.add(Account(name="a", domain_id="nowhere"))


def test_a_block_that_raises_writes_nothing(database: Database) -> None:
    def fail() -> None:
        with database.writing() as session:
            session.add(Setting(name="a", value="1"))
            session.flush()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with database.reading() as session:
        assert session.get(Setting, "a") is None


def test_writers_wait_for_each_other_and_lose_nothing(database: Database) -> None:
    """Read, then write: with a deferred BEGIN the second writer would fail, or overwrite the first."""
    with database.writing() as session:
        session.add(Setting(name="n", value="0"))

    def add() -> None:
        for _ in range(20):
            with database.writing() as session:
                row = session.get_one(Setting, "n")
                row.value = str(int(row.value) + 1)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.reading() as session:
        assert session.get_one(Setting, "n").value == "80"


def test_a_reader_does_not_wait_for_a_writer(database: Database) -> None:
    with database.writing() as writer:
        writer.add(Setting(name="a", value="1"))
        writer.flush()
        with database.reading() as reader:
            assert reader.get(Setting, "a") is None


def test_sealed_values_open_with_their_key_and_context_only(tmp_path: Path) -> None:
    seal = load_seal(tmp_path / "key")
    sealed = seal.close("geheim é", "vm.password")
    assert "geheim" not in sealed
    assert sealed != seal.close("geheim é", "vm.password")
    assert load_seal(tmp_path / "key").open(sealed, "vm.password") == "geheim é"
    for other, value, context in (
        (seal, sealed, "user.secret_key"),
        (load_seal(tmp_path / "other"), sealed, "vm.password"),
        (seal, sealed[:-4] + "AAAA", "vm.password"),
        (seal, "geheim", "vm.password"),
    ):
        with pytest.raises(SealBroken):
            other.open(value, context)


def test_the_key_file_is_private(tmp_path: Path) -> None:
    path = tmp_path / "key"
    load_seal(path)
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    with pytest.raises(SealBroken, match="chmod 600"):
        load_seal(path)
    path.chmod(0o600)
    path.write_text("short")
    with pytest.raises(SealBroken, match="key"):
        load_seal(path)


def test_passwords_are_hashed_and_checked() -> None:
    password = generate_password()
    stored = hash_password(password)
    assert password not in stored
    assert stored.startswith("$argon2id$")
    assert password_matches(stored, password)
    assert not password_matches(stored, password + "x")
    assert not password_matches(None, password)
    assert not password_matches("!", "!")


def test_defaults_are_added_once(database: Database) -> None:
    with database.writing() as session:
        password = add_defaults(session)
    assert password
    tables = (Domain, Account, User, ServiceOffering, DiskOffering, NetworkOffering)

    def counts() -> list[int | None]:
        with database.reading() as session:
            return [session.scalar(select(func.count()).select_from(table)) for table in tables]

    before = counts()
    with database.writing() as session:
        session.scalars(select(DiskOffering).where(DiskOffering.name == "Large")).one().removed = now()
    with database.writing() as session:
        assert add_defaults(session) is None
    assert counts() == before, "nothing is added twice, and what was deleted stays deleted"
    with database.reading() as session:
        named = select(NetworkOffering).where(NetworkOffering.name == ISOLATED_OFFERING)
        offering = session.scalars(named).one()
        user = session.scalars(select(User).where(User.username == "admin")).one()
    assert {"Dhcp", "Dns", "SourceNat", "StaticNat", "Lb", "UserData"} <= set(offering.services)
    assert password_matches(user.password, password)


def test_a_fresh_store_leaves_the_password_for_the_operator_alone(tmp_path: Path) -> None:
    first = open_store(tmp_path)
    first.database.close()
    file = tmp_path / "mgmt" / "admin-password"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text().strip() == first.password
    again = open_store(tmp_path)
    again.database.close()
    assert again.password is None
