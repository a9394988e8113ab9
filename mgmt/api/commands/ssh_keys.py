"""SSH key pairs: made here (the private key is returned once, never kept), or registered."""

import base64
import binascii
import hashlib
from typing import Annotated

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from msgspec import Meta
from sqlalchemy import Select, select

from mgmt.api.access import EVERYONE
from mgmt.api.call import Call
from mgmt.api.lists import Equals, OwnedListCommand
from mgmt.api.ownership import OwnerAccount, OwnerDomain, OwnerProject
from mgmt.api.params import wrong_value
from mgmt.api.registry import DONE, Response, Spec, SyncCommand
from mgmt.api.responses.ssh_keys import SSH_KEY_PAIR, build_ssh_keys
from mgmt.model.errors import ParameterError
from mgmt.store.tables import Account, SshKeyPair

LONGEST_KEY = 5120


class ListSSHKeyPairs(OwnedListCommand, kw_only=True, frozen=True):
    """Lists SSH key pairs."""

    spec = Spec(answer=SSH_KEY_PAIR, access=EVERYONE)
    searched = (SshKeyPair.name,)

    name: Annotated[str | None, Equals(SshKeyPair.name)] = None
    fingerprint: Annotated[str | None, "the MD5 fingerprint", Equals(SshKeyPair.fingerprint)] = None


class CreateSSHKeyPair(SyncCommand, kw_only=True, frozen=True):
    """Creates an SSH key pair; the private key is in the answer and is not kept."""

    spec = Spec(answer=SSH_KEY_PAIR, access=EVERYONE, event="REGISTER.SSH.KEYPAIR", key="keypair")

    name: str
    account: OwnerAccount = None
    domainid: OwnerDomain = None
    projectid: OwnerProject = None

    def run(self, call: Call) -> Response:
        """Make an Ed25519 pair, which every current sshd and dropbear takes."""
        private = ed25519.Ed25519PrivateKey.generate()
        public = private.public_key().public_bytes(
            serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        )
        row = _insert(call, self.name, f"{public.decode()} {self.name}")
        answer = build_ssh_keys(call, [row])[0]
        answer.privatekey = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        ).decode()
        return answer


class RegisterSSHKeyPair(SyncCommand, kw_only=True, frozen=True):
    """Registers a public key under a name."""

    spec = Spec(answer=SSH_KEY_PAIR, access=EVERYONE, event="REGISTER.SSH.KEYPAIR", key="keypair")

    name: str
    publickey: Annotated[str, "the public key in OpenSSH's format", Meta(max_length=LONGEST_KEY)]
    account: OwnerAccount = None
    domainid: OwnerDomain = None
    projectid: OwnerProject = None

    def run(self, call: Call) -> SshKeyPair:
        """Check that it is a key and insert it."""
        key = " ".join(self.publickey.split())
        try:
            serialization.load_ssh_public_key(key.encode())
        except (ValueError, UnsupportedAlgorithm) as error:
            raise wrong_value("publickey", key[:40], "one line in OpenSSH's format") from error
        row = _insert(call, self.name, key)
        taken = select(SshKeyPair.name).where(
            SshKeyPair.account_id == row.account_id,
            SshKeyPair.fingerprint == row.fingerprint,
            SshKeyPair.id != row.id,
            SshKeyPair.removed.is_(None),
        )
        if other := call.session.scalar(taken):
            raise ParameterError(f"A key pair with that public key exists already: {other}; use it")
        return row


class DeleteSSHKeyPair(SyncCommand, kw_only=True, frozen=True):
    """Deletes a key pair by name; VMs that have the key keep it."""

    spec = Spec(access=EVERYONE, event="DELETE.SSH.KEYPAIR")

    name: str
    account: OwnerAccount = None
    domainid: OwnerDomain = None
    projectid: OwnerProject = None

    def run(self, call: Call) -> Response:
        """Remove the row."""
        row = find_key(call, self.name)
        row.removed = call.now()
        return DONE


def find_key(call: Call, name: str, account_id: str | None = None) -> SshKeyPair:
    """The key pair of a name that the account has, or the call's owner. Raises `ParameterError`."""
    row = call.session.scalar(_named(call, name, account_id))
    if row is None:
        account = call.session.get_one(Account, account_id or call.owner.account.id).name
        raise ParameterError(f"A key pair with name '{name}' does not exist for account {account}")
    return row


def fingerprint(key: str) -> str:
    """MD5 of the key's blob as colon hex, which clients compare (RFC 4716 section 4)."""
    blob = base64.b64decode(key.split()[1])
    digest = hashlib.md5(blob, usedforsecurity=False).hexdigest()
    return ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))


def _insert(call: Call, name: str, key: str) -> SshKeyPair:
    if call.session.scalar(_named(call, name)) is not None:
        raise ParameterError(f"A key pair with name {name} already exists; choose another name")
    try:
        mark = fingerprint(key)
    except (binascii.Error, IndexError) as error:
        raise wrong_value("publickey", key[:40], "one line in OpenSSH's format") from error
    row = SshKeyPair(
        account_id=call.owner.account.id,
        domain_id=call.owner.domain.id,
        name=name,
        public_key=key,
        fingerprint=mark,
    )
    call.session.add(row)
    call.session.flush()
    return row


def _named(call: Call, name: str, account_id: str | None = None) -> Select[SshKeyPair]:
    return select(SshKeyPair).where(
        SshKeyPair.account_id == (account_id or call.owner.account.id),
        SshKeyPair.name == name,
        SshKeyPair.removed.is_(None),
    )
