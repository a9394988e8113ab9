"""Orchestration: what each operation does, in which order, and how it is undone.

`compute`, `network`, `storage`, `images`, `machines` (system VMs) and `infrastructure` hold the operations
of their objects. What all of them stand on is here: `saga`, `locks`, `runtime`, `endpoints`, and `workflows`
by `names`.

What the API calls, in the caller's transaction, with checked arguments. Errors are those of
`mgmt.model.errors`, with a sentence.

- `call.submit(names.DEPLOY_VM, {"vm_id": …}, kind=…, about=row)`: names and arguments in `mgmt.ops.names`.
- `compute.vms.create_vm(session, seal, VmRequest(…)) -> Vm`: rows of a VM, its volumes and NICs; then
  DEPLOY_VM.
- `compute.vms.recover_vm(session, vm)`: destroyed, not yet expunged, to stopped (then nothing else is to do).
- `compute.passwords.set_new_password(vm, seal)`, then REFRESH_GUEST;
  `compute.passwords.reveal_password(vm, seal)` for the owner's answer of deploy and reset jobs.
- Rules: insert the row with `state=RuleState.add`, then APPLY_RULE; to delete one set `RuleState.revoke`,
  then REVOKE_RULE.
- `mgmt.alloc.addresses.claim(session, network=…, address=None) -> PublicAddress`; then ASSOCIATE_ADDRESS.
- `images.templates.touch_storage(session, zone_id)` after a template was inserted or marked as removed; then,
  after the commit, `runtime.wake.set()`: the reconcile loop pushes and follows the download.
- `compute.console.create_endpoint(runtime, vm_id) -> ConsoleEndpoint`: URL with a one-use ticket.

Jobs answer with the entity in `job.instance_id`; the API renders it when it is asked.
"""
