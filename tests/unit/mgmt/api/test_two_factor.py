"""Two-factor log-ins: codes by the clock of an authenticator app, each taken once."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pyotp
import pytest
from sqlalchemy import select

from mgmt.api.registry import REGISTRY
from mgmt.api.testing import Answer, Api, Client, open_api
from mgmt.store.tables import User
from tests.unit.mgmt.api.doors import Clock, Session, set_password
from tests.unit.mgmt.api.staff import ids

pytestmark = pytest.mark.unit

PASSWORD = "anns own password"
STEP = timedelta(seconds=30)
VALIDATE = "validateUserTwoFactorAuthenticationCode"
SETUP = "setupUserTwoFactorAuthentication"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def api(tmp_path: Path, fresh_store: Path, clock: Clock) -> Iterator[Api]:
    with open_api(tmp_path, clock, like=fresh_store) as opened:
        opened.account("ann")
        set_password(opened, "ann", PASSWORD)
        yield opened


@pytest.fixture
def ann(api: Api) -> Session:
    return Session(api, "ann", PASSWORD)


def again(api: Api) -> Session:
    return Session(api, "ann", PASSWORD)


def set_up(session: Session) -> pyotp.TOTP:
    answer = session(SETUP, provider="totp")
    assert answer.status == 200, answer.error
    return pyotp.TOTP(answer.body["setup2fa"]["secretcode"])


def validate(session: Session, code: str) -> Answer:
    return session(VALIDATE, codefor2fa=code)


@pytest.fixture
def codes(ann: Session, clock: Clock) -> pyotp.TOTP:
    """Codes of Ann, in force; the next code is one that was not used."""
    totp = set_up(ann)
    assert validate(ann, totp.at(clock.moment)).body == {"success": True}
    clock.moment += STEP
    return totp


def row(api: Api, name: str = "ann") -> User:
    with api.context.database.reading() as session:
        return session.scalars(select(User).where(User.username == name)).one()


def test_a_session_needs_a_code_and_then_works(api: Api, codes: pyotp.TOTP, clock: Clock) -> None:
    session = again(api)
    told = {name: session.login.get(name) for name in ("is2faenabled", "is2faverified", "providerfor2fa")}
    assert told == {"is2faenabled": "true", "is2faverified": "false", "providerfor2fa": "totp"}
    assert session.login["issuerfor2fa"] == "Pileus"
    refused = session("listZones")
    assert (refused.status, refused.body["errorcode"], refused.envelope) == (511, 511, "listzonesresponse")
    assert VALIDATE in refused.error
    assert validate(session, codes.at(clock.moment)).status == 200
    assert session("listZones").status == 200
    (user,) = session("listUsers").body["user"]
    assert (user["is2faenabled"], user["is2famandated"]) == (True, False)


def test_without_a_second_factor_log_in_says_so(ann: Session) -> None:
    assert (ann.login["is2faenabled"], ann.login["is2faverified"]) == ("false", "false")
    assert "providerfor2fa" not in ann.login
    assert ann("listZones").status == 200


def test_every_other_command_is_refused_meanwhile(api: Api, codes: pyotp.TOTP) -> None:
    session = again(api)
    open_to_all = {item.name for item in REGISTRY.all() if item.spec.before_code}
    assert open_to_all == {SETUP, VALIDATE, "listUserTwoFactorAuthenticatorProviders"}
    for registered in REGISTRY.all():
        if registered.name not in open_to_all:
            assert session(registered.name).status == 511, registered.name
    listed = session("listUserTwoFactorAuthenticatorProviders").body
    assert (listed["count"], listed["providers"][0]["name"]) == (1, "totp")


def test_the_password_alone_does_not_take_the_second_factor_off(api: Api, codes: pyotp.TOTP) -> None:
    session = again(api)
    assert session(SETUP, enable="false").status == 511
    assert session(SETUP).status == 431, "nor replace it"
    assert row(api).totp_enabled


def test_signed_calls_need_no_code(api: Api, codes: pyotp.TOTP) -> None:
    assert api.client("ann")("listZones").status == 200


def test_a_code_works_once(api: Api, codes: pyotp.TOTP, clock: Clock) -> None:
    code = codes.at(clock.moment)
    first, second = again(api), again(api)
    assert validate(first, code).status == 200
    refused = validate(second, code)
    assert refused.status == 511
    assert "was used before" in refused.error
    assert validate(second, codes.at(clock.moment - STEP)).status == 511, "nor an older one"
    assert second("listZones").status == 511
    assert first("listZones").status == 200
    clock.moment += STEP
    assert validate(second, codes.at(clock.moment)).status == 200


@pytest.mark.parametrize(("steps", "status"), [(-2, 511), (-1, 511), (0, 200), (1, 200), (2, 511)])
def test_clocks_may_differ_by_one_step(
    api: Api, codes: pyotp.TOTP, clock: Clock, steps: int, status: int
) -> None:
    """The code of the step before was used when the codes were set up."""
    assert validate(again(api), codes.at(clock.moment + steps * STEP)).status == status


@pytest.mark.parametrize("code", ["000000", "12345", "x", "１２３４５６", "-1", "0" * 16])
def test_wrong_codes(api: Api, codes: pyotp.TOTP, code: str) -> None:
    session = again(api)
    assert validate(session, code).status == 511
    assert session("listZones").status == 511


def test_failed_codes_are_limited_whatever_session_they_come_in(
    api: Api, codes: pyotp.TOTP, clock: Clock
) -> None:
    for _ in range(10):
        assert validate(again(api), "000000").status == 511
    refused = validate(again(api), codes.at(clock.moment))
    assert refused.status == 429
    assert "10 attempts of ann failed; try again in" in refused.error
    clock.moment += timedelta(minutes=6)
    assert validate(again(api), codes.at(clock.moment)).status == 200


def test_codes_are_in_force_after_the_first_right_one(api: Api, ann: Session, clock: Clock) -> None:
    other = again(api)
    totp = set_up(ann)
    assert again(api)("listZones").status == 200, "who never saw a right code is not locked out"
    assert validate(ann, "000000").status == 511
    assert not row(api).totp_enabled
    assert validate(ann, totp.at(clock.moment)).status == 200
    assert ann("listZones").status == 200
    assert other("listZones").status == 511, "the other sessions must prove it too"


def test_the_secret_is_shown_once_and_sealed(api: Api, ann: Session, clock: Clock) -> None:
    answer = ann(SETUP).body["setup2fa"]
    secret = answer["secretcode"]
    assert (answer["id"], answer["username"]) == (row(api).id, "ann")
    assert len(secret) == 32
    stored = row(api).totp_secret
    assert stored is not None
    assert secret not in stored
    assert validate(ann, pyotp.TOTP(secret).at(clock.moment)).status == 200
    for command, form in (("listUsers", {}), ("getUserKeys", {"id": answer["id"]}), (SETUP, {})):
        assert secret not in str(ann(command, **form).body)
    assert secret not in (api.context.config.key_file.parent / "mgmt.db").read_bytes().decode("latin1")


def test_taking_it_off(api: Api, ann: Session, codes: pyotp.TOTP) -> None:
    assert ann(SETUP, enable="false").body["setup2fa"]["username"] == "ann"
    assert again(api)("listZones").status == 200
    assert validate(ann, "000000").status == 431
    assert (row(api).totp_enabled, row(api).totp_secret) == (False, None)


def test_an_administrator_takes_it_off_for_who_lost_the_device(
    api: Api, admin: Client, codes: pyotp.TOTP
) -> None:
    waiting = again(api)
    user = ids(api)["user ann"]
    assert api.account("bob")(SETUP, userid=user, enable=False).status == 531
    assert admin(SETUP, userid=user).status == 431, "but sets none up for others"
    assert admin(SETUP, userid=user, enable=False).status == 200
    assert waiting("listZones").status == 200
    assert again(api)("listZones").status == 200


def test_mandated_codes(api: Api, admin: Client, ann: Session, clock: Clock) -> None:
    user = ids(api)["user ann"]
    assert ann("updateUser", id=user, mandate2fa="true").status == 531
    made = admin.get("updateUser", id=user, mandate2fa=True)["user"]
    assert (made["is2famandated"], made["is2faenabled"]) == (True, False)
    refused = ann("listZones")
    assert refused.status == 511
    assert f"call {SETUP}" in refused.error
    session = again(api)
    assert session.login["is2faenabled"] == "true"
    assert "providerfor2fa" not in session.login
    assert session(SETUP, enable="false").status == 511
    totp = set_up(session)
    assert session("listZones").status == 511
    assert validate(session, totp.at(clock.moment)).status == 200
    assert session("listZones").status == 200
    assert session(SETUP, enable="false").status == 531
    assert session("updateUser", id=user, mandate2fa="false").status == 531
    admin.get("updateUser", id=user, mandate2fa=False)
    assert session(SETUP, enable="false").status == 200


@pytest.mark.parametrize(
    "form", [{"provider": "staticpin"}, {"userid": "00000000-1111-2222-3333-444444444444"}]
)
def test_wrong_setups(ann: Session, form: dict[str, str]) -> None:
    assert ann(SETUP, **form).status == 431


def test_nothing_to_validate(ann: Session) -> None:
    answer = validate(ann, "123456")
    assert answer.status == 431
    assert SETUP in answer.error
    assert ann(VALIDATE).status == 431
