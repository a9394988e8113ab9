"""Secrets at rest: AES-256-GCM with a key file that only the management server's user can read.

A sealed value is text, `v1:<base64 of nonce and ciphertext>`. The context (`user.secret_key`,
`vm.password`) is authenticated with it, so a value moved to another column does not open.
"""

import base64
import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VERSION = "v1:"
NONCE_BYTES = 12
KEY_BYTES = 32


class SealBroken(Exception):
    """A sealed value that this key does not open: another key, another context, or a changed value."""


class Seal:
    """Seals and opens secrets with one key."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def close(self, secret: str, context: str) -> str:
        """Encrypt `secret` for storage in `context`."""
        nonce = os.urandom(NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, secret.encode(), context.encode())
        return VERSION + base64.b64encode(nonce + sealed).decode()

    def open(self, sealed: str, context: str) -> str:
        """Decrypt what `close` made for the same context. Raises `SealBroken`."""
        if not sealed.startswith(VERSION):
            raise SealBroken(f"a value of {context} is not sealed: it must start with {VERSION!r}")
        try:
            data = base64.b64decode(sealed[len(VERSION) :], validate=True)
            return self._cipher.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], context.encode()).decode()
        except (InvalidTag, ValueError) as error:
            message = f"a value of {context} does not open with this key; is the key file the right one?"
            raise SealBroken(message) from error


def load_seal(key_file: Path) -> Seal:
    """The seal of `key_file`, made with mode 0600 if there is none yet. Raises `SealBroken`, `OSError`."""
    try:
        descriptor = os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return Seal(_read_key(key_file))
    with os.fdopen(descriptor, "wb") as file:
        file.write(base64.b64encode(AESGCM.generate_key(bit_length=KEY_BYTES * 8)) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return Seal(_read_key(key_file))


def _read_key(key_file: Path) -> bytes:
    mode = key_file.stat().st_mode & 0o777
    if mode & 0o077:
        raise SealBroken(f"{key_file} has mode {mode:o}: others can read it; run chmod 600 {key_file}")
    try:
        key = base64.b64decode(key_file.read_bytes().strip(), validate=True)
    except ValueError as error:
        raise SealBroken(f"{key_file} is not a base64 key; restore it from a backup") from error
    if len(key) != KEY_BYTES:
        raise SealBroken(
            f"{key_file} holds {len(key)} bytes, a key has {KEY_BYTES}; restore it from a backup"
        )
    return key
