"""Passwords of VMs: made here, sealed at rest, opened for the router's document and for their owner."""

import secrets
import string

from mgmt.store.sealing import Seal
from mgmt.store.tables import Vm
from mgmt.store.tables.base import new_id

#: What a sealed password is bound to (see `mgmt.store.sealing`).
CONTEXT = "vm.password"
_LENGTH = 12
# Without letters and digits that look alike: people type these into consoles.
_ALPHABET = "".join(sorted(set(string.ascii_letters + string.digits) - set("0O1lI5S8B")))


def set_new_password(vm: Vm, seal: Seal) -> None:
    """Give the VM a new random password, which it may fetch once from its router."""
    clear = "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
    vm.password = seal.close(clear, CONTEXT)
    vm.password_id = new_id()


def reveal_password(vm: Vm, seal: Seal) -> str | None:
    """The VM's password in clear; None if it has none."""
    return seal.open(vm.password, CONTEXT) if vm.password else None
