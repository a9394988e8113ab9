"""The published vector, and the signature of every kind of client."""

import base64
import hmac
from datetime import UTC, datetime
from urllib.parse import quote, quote_plus

import pytest

from mgmt.api.signature import check_expiry, signature_matches
from mgmt.model.errors import Unauthorized

pytestmark = pytest.mark.unit

SECRET = "VDaACYb0LV9eNjTetIOElcVQkvJck_J_QljX_FcHRj87ZKiy0z0ty0ZsYBkoXkY9b7eq1EhwJaw7FF3akA3KBQ"
API_KEY = "plgWJfZK4gyS3mOMTVmjUVg-X-jlWlnfaUJ9GAbBbf9EdM-kAYMmAiLqzzq1ElZLYq_u38zCm0bewzGUdP66mg"
NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def test_published_vector() -> None:
    pairs = {"apikey": API_KEY, "command": "listUsers", "response": "json"}
    assert signature_matches(pairs, "TTpdDq/7j/J58XCRHomKoQXEQds=", SECRET)


def cs(pairs: dict[str, str]) -> str:
    return "&".join(f"{key}={quote(value, safe='*')}" for key, value in sorted(pairs.items()))


def libcloud(pairs: dict[str, str]) -> str:
    ordered = sorted(pairs.items(), key=lambda item: item[0].lower())
    return "&".join(f"{key}={quote(value, safe='[]*')}" for key, value in ordered)


def cloudmonkey(pairs: dict[str, str]) -> str:
    ordered = sorted((key.lower(), value) for key, value in pairs.items())
    parts = (f"{key}={quote_plus(value, safe='*').replace('+', '%20')}" for key, value in ordered)
    return "&".join(parts).replace("~", "%7E")


def marvin(pairs: dict[str, str]) -> str:
    ordered = sorted(pairs.items(), key=lambda item: item[0].lower())
    parts = (f"{key.lower()}={quote_plus(value).replace('+', '%20')}" for key, value in ordered)
    return "&".join(parts).replace("~", "%7E")


def ec2stack(pairs: dict[str, str]) -> str:
    parts = (f"{key}={quote(value, safe='[]')}" for key, value in sorted(pairs.items()))
    return "&".join(parts).replace("~", "%7E")


def stackmate(pairs: dict[str, str]) -> str:
    parts = (f"{key}={quote(value, safe='*').replace('~', '%7E')}" for key, value in pairs.items())
    return "&".join(sorted(parts))


def java(pairs: dict[str, str]) -> str:
    parts = (f"{key}={quote(value, safe='*-_.').replace('~', '%7E')}" for key, value in sorted(pairs.items()))
    return "&".join(parts)


@pytest.mark.parametrize("client", [cs, libcloud, cloudmonkey, marvin, ec2stack, stackmate, java])
@pytest.mark.parametrize("digest", ["sha1", "sha256", "sha512"])
@pytest.mark.parametrize("value", ["plain", "a b+c", "*~[]", "é/€", "a~b*c[0]"])
def test_variants_of_clients(client: object, digest: str, value: str) -> None:
    pairs = {"apiKey": "k", "command": "deployVirtualMachine", "zoneId": "1", "displayName": value, "Z": "y"}
    text = client(pairs).lower()  # type: ignore[operator]
    made = base64.b64encode(hmac.digest(b"secret", text.encode(), digest)).decode()
    assert signature_matches({**pairs, "signature": made}, made, "secret")
    assert not signature_matches({**pairs, "displayName": value + "x"}, made, "secret")
    assert not signature_matches(pairs, made, "other")


@pytest.mark.parametrize("signature", ["", "not base64 !", base64.b64encode(b"short").decode(), "é"])
def test_malformed_signatures_are_refused(signature: str) -> None:
    assert not signature_matches({"command": "listZones"}, signature, "secret")


@pytest.mark.parametrize(
    "expires", ["2026-01-31T12:10:00+0000", "2026-01-31T12:15:00Z", "2026-01-31T12:10:00 0000"]
)
def test_future_expiry_passes(expires: str) -> None:
    check_expiry("3", expires, NOW)


@pytest.mark.parametrize(
    "expires", [None, "", "tomorrow", "2026-01-31T11:59:59+0000", "2026-01-31T12:00:00Z"]
)
def test_no_bad_or_past_expiry_is_refused(expires: str | None) -> None:
    with pytest.raises(Unauthorized):
        check_expiry("3", expires, NOW)


def test_without_version_three_nothing_expires() -> None:
    check_expiry(None, "2001-01-01T00:00:00Z", NOW)
