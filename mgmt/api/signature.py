"""Signed requests: every spelling of CloudStack's signature that its clients use.

The parameters except `signature` are sorted, written as `name=value` with the value percent-encoded, joined
by `&`, lower-cased as a whole; the signature is the base64 of their HMAC with the secret key. Clients differ
in whether they lower-case the names before sorting and in which characters they leave raw in values, so
each of these is tried. Source: CloudStack's developer guide, and the clients themselves.
"""

import base64
import binascii
import hmac
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from urllib.parse import quote

from mgmt.model.errors import Unauthorized

DIGESTS = {20: "sha1", 32: "sha256", 64: "sha512"}
RAW_CHARACTERS = ("*-_.", "*-_.~", "-_.~", "*-_.~[]", "-_.~[]", "-_.", "*-_.[]", "-_.[]")
DATE_FORMATS = ("%Y-%m-%dT%H:%M:%S%z",)
REFUSED = "unable to verify user credentials and/or request signature"


def canonical_texts(pairs: Mapping[str, str]) -> Iterator[str]:
    """Every text that a client may have signed for these parameters, the most usual first."""
    items = [(name, value) for name, value in pairs.items() if name.lower() != "signature"]
    orders = [sorted(items), sorted(items, key=lambda item: item[0].lower())]
    seen = set()
    for raw in RAW_CHARACTERS:
        encoded = {name: _encode(value, raw) for name, value in items}
        for order in orders:
            text = "&".join(f"{name}={encoded[name]}" for name, _ in order).lower()
            if text not in seen:
                seen.add(text)
                yield text
    whole = "&".join(sorted(f"{name}={_encode(value, '*-_.')}" for name, value in items)).lower()
    if whole not in seen:
        yield whole


def _encode(value: str, raw: str) -> str:
    """Percent-encode. `quote` never encodes `-_.~`, so `~` is done by hand where it must be."""
    encoded = quote(value, safe=raw)
    return encoded if "~" in raw else encoded.replace("~", "%7E")


def signature_matches(pairs: Mapping[str, str], signature: str, secret: str) -> bool:
    """Whether the signature was made with the secret; SHA-1, SHA-256 or SHA-512 by its length."""
    try:
        given = base64.b64decode(signature.replace(" ", "+"), validate=True)
    except (binascii.Error, ValueError):
        return False
    digest = DIGESTS.get(len(given))
    if digest is None:
        return False
    # Which spelling it was is no secret, so the right one ends the search; a wrong one has tried them all.
    made = (hmac.digest(secret.encode(), text.encode(), digest) for text in canonical_texts(pairs))
    return any(hmac.compare_digest(each, given) for each in made)


def check_expiry(version: str | None, expires: str | None, now: datetime) -> None:
    """Raise `Unauthorized` if a request of signature version 3 has no valid, future `expires`."""
    if version != "3":
        return
    moment = _moment(expires or "")
    if moment is None:
        raise Unauthorized(f"{REFUSED}: expires must be a date as 2026-01-31T12:00:00+0000")
    if moment <= now:
        raise Unauthorized(f"{REFUSED}: the request expired at {expires}; check the caller's clock")


def _moment(text: str) -> datetime | None:
    for form in DATE_FORMATS:
        for spelled in (text, text.replace(" ", "+")):
            try:
                return datetime.strptime(spelled, form).astimezone(UTC)
            except ValueError:
                continue
    return None
