"""SSH key pairs on the wire."""

from collections.abc import Sequence

from mgmt.api.call import Call
from mgmt.api.registry import Entity, Response
from mgmt.api.responses.lookup import Owners
from mgmt.store.tables import SshKeyPair


class SshKeyPairResponse(Response, kw_only=True):
    """A key pair; `privatekey` only in the answer that made it."""

    id: str
    name: str
    fingerprint: str
    account: str | None = None
    project: str | None = None
    projectid: str | None = None
    domainid: str | None = None
    domain: str | None = None
    domainpath: str | None = None
    privatekey: str | None = None


def build_ssh_keys(call: Call, rows: Sequence[SshKeyPair]) -> list[SshKeyPairResponse]:
    """Answers for key pairs."""
    owners = Owners(call, rows)
    return [
        SshKeyPairResponse(id=row.id, name=row.name, fingerprint=row.fingerprint, **owners.names(row))
        for row in rows
    ]


SSH_KEY_PAIR = Entity(SshKeyPair, SshKeyPairResponse, "sshkeypair", build_ssh_keys)
