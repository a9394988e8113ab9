"""Rank and codes on PostgreSQL, where transactions run side by side and see the state before each other."""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pyotp
import pytest
from sqlalchemy import select

from mgmt.api.access import Caller
from mgmt.api.app import load_commands
from mgmt.api.call import Context
from mgmt.api.dispatch import dispatch, find_command
from mgmt.api.params import Form
from mgmt.api.second_factor import SECRET_CONTEXT, new_secret
from mgmt.api.sessions import load_caller
from mgmt.config import default_config
from mgmt.jobs.recorded import RecordedJobs
from mgmt.model.errors import CloudError, UnknownCommand
from mgmt.model.states import AccountType
from mgmt.store.database import Database
from mgmt.store.defaults import add_defaults
from mgmt.store.sealing import Seal
from mgmt.store.tables import Account, Base, LoginSession, Role, User
from mgmt.store.tables.base import now
from tests.postgres import postgres

pytestmark = pytest.mark.contract

ROUNDS = 10
RIVALS = ("first", "second")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    load_commands()
    with postgres() as found:
        yield found


@pytest.fixture(scope="module")
def context(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Context]:
    opened = open_context(url, tmp_path_factory.mktemp("home"))
    Base.metadata.create_all(opened.database.engine)
    with opened.database.writing() as session:
        add_defaults(session)
    yield opened
    opened.database.close()


def open_context(url: str, folder: Path) -> Context:
    return Context(Database(url), Seal(b"k" * 32), RecordedJobs(), default_config(folder))


def add_user(context: Context, name: str, kind: AccountType = AccountType.user) -> None:
    with context.database.writing() as session:
        home = session.scalars(select(Account.domain_id).where(Account.name == "admin")).one()
        account = Account(name=name, domain_id=home, type=kind)
        session.add(account)
        session.flush()
        session.add(User(account_id=account.id, username=name, password="!"))


def caller_of(context: Context, name: str, login: LoginSession | None = None) -> Caller:
    with context.database.reading() as session:
        user = session.scalars(select(User).where(User.username == name)).one()
        caller = load_caller(session, user, login)
    assert caller is not None
    return caller


def call(context: Context, caller: Caller, command: str, **form: str) -> str:
    try:
        dispatch(context, caller, find_command(command), Form(form))
    except CloudError as error:
        return error.text
    return "done"


def at_once(works: list[Callable[[], str]]) -> list[str]:
    """What became of threads that start together."""
    outcomes: list[str] = []
    barrier = threading.Barrier(len(works))

    def run(work: Callable[[], str]) -> None:
        barrier.wait()
        try:
            outcomes.append(work())
        except Exception as error:  # shown by the assertion
            outcomes.append(repr(error))

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(outcomes)


def set_state(context: Context, state: str, *names: str) -> None:
    with context.database.writing() as session:
        for account in session.scalars(select(Account).where(Account.name.in_(names))):
            account.state = state


def test_two_root_administrators_do_not_disable_each_other(context: Context) -> None:
    for name in RIVALS:
        add_user(context, name, AccountType.root_admin)
    set_state(context, "disabled", "admin")
    for _ in range(ROUNDS):
        set_state(context, "enabled", *RIVALS)
        callers = [caller_of(context, name) for name in RIVALS]

        def disable(at: int, callers: list[Caller] = callers) -> str:
            return call(context, callers[at], "disableAccount", id=callers[1 - at].account.id, lock="false")

        outcomes = at_once([lambda: disable(0), lambda: disable(1)])
        assert outcomes == [
            "No enabled root administrator with all rights would be left; make another one first",
            "done",
        ]
    set_state(context, "enabled", "admin", *RIVALS)


def test_a_code_sent_eight_times_at_once_works_once(context: Context) -> None:
    add_user(context, "ann")
    secret = new_secret()
    with context.database.writing() as session:
        user = session.scalars(select(User).where(User.username == "ann")).one()
        user.totp_secret, user.totp_enabled = context.seal.close(secret, SECRET_CONTEXT), True
        logins = [
            LoginSession(
                id_hash=f"{at:064}",
                key_hash="",
                user_id=user.id,
                expires=now() + timedelta(hours=1),
                needs_code=True,
            )
            for at in range(8)
        ]
        session.add_all(logins)
    callers = [caller_of(context, "ann", login) for login in logins]
    code = pyotp.TOTP(secret).at(now())

    def prove(caller: Caller) -> str:
        return call(context, caller, "validateUserTwoFactorAuthenticationCode", codefor2fa=code)

    outcomes = at_once([lambda caller=caller: prove(caller) for caller in callers])  # type: ignore[misc]
    assert outcomes.count("done") == 1
    assert all("was used before" in text for text in outcomes if text != "done")
    with context.database.reading() as session:
        waiting = session.scalars(select(LoginSession.needs_code)).all()
    assert sorted(waiting) == [False] + [True] * 7


def test_another_server_knows_a_changed_role_at_the_next_call(
    context: Context, url: str, tmp_path: Path
) -> None:
    add_user(context, "bob")
    other = open_context(url, tmp_path)
    try:
        admin = caller_of(context, "admin")
        assert call(context, admin, "createRole", name="bobs", type="User") == "done"
        with context.database.writing() as session:
            role = session.scalars(select(Role).where(Role.name == "bobs")).one()
            session.scalars(select(Account).where(Account.name == "bob")).one().role_id = role.id
        command = find_command("listZones")
        with pytest.raises(UnknownCommand):
            dispatch(other, caller_of(other, "bob"), command, Form({}))
        form = {"roleid": role.id, "rule": "listZones", "permission": "allow"}
        assert call(context, admin, "createRolePermission", **form) == "done"
        assert dispatch(other, caller_of(other, "bob"), command, Form({})) == {}
    finally:
        other.database.close()
