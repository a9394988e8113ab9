"""Where a running VM could go."""

from collections.abc import Sequence
from typing import Annotated

from mgmt.alloc.hosts import candidates
from mgmt.api.access import ROOT, Ref
from mgmt.api.call import Call
from mgmt.api.lists import PlainListCommand
from mgmt.api.registry import Response, Spec
from mgmt.api.responses.hosts import CandidateResponse, candidate_responses
from mgmt.api.user_vms import must_be, user_vm
from mgmt.model.states import VmState
from mgmt.ops.placement import demand_of, tied_to
from mgmt.store.tables import Vm


class FindHostsForMigration(PlainListCommand, kw_only=True, frozen=True):
    """Finds the hosts that a running virtual machine might move to, and says which would take it."""

    spec = Spec(answer=CandidateResponse, access=ROOT, key="host")

    virtualmachineid: Annotated[str, Ref(Vm)]
    keyword: str | None = None

    def items(self, call: Call) -> Sequence[Response]:
        """The other hosts of its zone; its disks must move too where they are on its host."""
        vm = user_vm(call, self.virtualmachineid, "virtualmachineid")
        must_be(vm, "moved to another host", VmState.running)
        found = candidates(call.session, demand_of(call.session, vm), beside=str(vm.host_id))
        wanted = (self.keyword or "").lower()
        found = [(host, is_fit) for host, is_fit in found if wanted in host.name.lower()]
        return candidate_responses(call, found, moves_disks=tied_to(call.session, vm) is not None)
