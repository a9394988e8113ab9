"""Passwords of users: argon2id hashes, checked in constant time, never stored in clear."""

import secrets
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

HASHER = PasswordHasher()
GENERATED_BYTES = 18


def hash_password(password: str) -> str:
    """The argon2id hash to store."""
    return HASHER.hash(password)


def password_matches(stored: str | None, password: str) -> bool:
    """Whether `password` is the one of the `stored` hash.

    Without a hash (no such user) a hash of nothing is checked all the same, so that the time taken does
    not tell which users exist.
    """
    try:
        return HASHER.verify(stored or _hash_of_nothing(), password) and stored is not None
    except (VerificationError, InvalidHashError):
        return False


def generate_password() -> str:
    """A new random password of 24 URL-safe characters."""
    return secrets.token_urlsafe(GENERATED_BYTES)


@cache
def _hash_of_nothing() -> str:
    return HASHER.hash(secrets.token_urlsafe())
