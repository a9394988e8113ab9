"""A storage VM's row for a zone of a world, and the parts of the server that answers with URLs need."""

from pathlib import Path

from mgmt.drivers.simulator import Simulator
from mgmt.ops.runtime import Runtime
from mgmt.pki.authority import Authority
from mgmt.store import tables
from tests.unit.mgmt.api.commands.world import World

PUBLIC = "198.51.100.9"


def give_storage_vm(world: World, folder: Path, zone: str = "zone", address: str = PUBLIC) -> Runtime:
    """Let the zone have a storage VM that runs, at a public address."""
    runtime = Runtime(
        database=world.context.database,
        seal=world.context.seal,
        authority=Authority(folder / "pki"),
        drivers={"simulator": Simulator()},
    )
    world.context.parts[Runtime] = runtime
    admin = world.callers["admin"]
    mine = {"account_id": admin.account.id, "domain_id": admin.domain.id}
    vm = tables.Vm(
        **mine,
        kind="storage",
        name=f"s-{zone}",
        instance_name=f"s-{zone}",
        zone_id=world.ids[zone],
        state="Running",
        offering_id=world.ids["service_offering"],
        management_address="10.0.0.9",
    )
    world.add(vm)
    place = {"purpose": "public", "address": address, "netmask": "255.255.255.0"}
    world.add(tables.Nic(**mine, vm_id=vm.id, position=2, mac=f"02:00:00:09:{len(zone):02}:09", **place))
    world.ids[f"storage vm of {zone}"] = vm.id
    return runtime
