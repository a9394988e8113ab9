"""Templates copied to a second zone, for the sweep of crash points."""

from ipaddress import IPv4Address

from mgmt.model.states import Allocation
from mgmt.ops import names
from mgmt.ops.images.template_copies import insert_copy
from mgmt.store.tables import (
    Cluster,
    Host,
    ImageStore,
    PhysicalNetwork,
    Pod,
    PublicAddress,
    StoragePool,
    Template,
    TrafficType,
    VlanRange,
    Zone,
)
from tests.unit.mgmt.doctor.scenarios import Arguments, Scenario, refused
from tests.unit.mgmt.small_cloud import SmallCloud


def second_zone(cloud: SmallCloud) -> str:
    """Another zone with a host and system VMs that run."""
    zone = cloud.add(
        Zone(name="zone2", dns1="9.9.9.9", internal_dns1="9.9.9.9", allocation=Allocation.enabled)
    )
    physical = cloud.add(PhysicalNetwork(zone_id=zone.id, name="physical2", state="Enabled"))
    pod = cloud.add(
        Pod(
            zone_id=zone.id,
            name="pod2",
            gateway="172.31.242.1",
            netmask="255.255.255.0",
            start_ip="172.31.242.10",
            end_ip="172.31.242.30",
        )
    )
    cluster = cloud.add(Cluster(zone_id=zone.id, pod_id=pod.id, name="cluster2"))
    public = cloud.add(
        VlanRange(
            zone_id=zone.id,
            physical_network_id=physical.id,
            gateway="172.31.243.1",
            netmask="255.255.255.0",
            start_ip="172.31.243.10",
            end_ip="172.31.243.19",
        )
    )
    labels = {"Management": "pileus-mgmt", "Public": "pileus-public", "Guest": "cloud0"}
    host = cloud.add(
        Host(
            zone_id=zone.id,
            pod_id=pod.id,
            cluster_id=cluster.id,
            name="host2",
            driver="simulator",
            address="172.31.242.1",
            port=8445,
            tunnel_port=8446,
            relay_port=8447,
            cpus=16,
            memory_mib=65536,
            state="Up",
        )
    )
    first = int(IPv4Address(public.start_ip))
    cloud.add(
        ImageStore(zone_id=zone.id, name="secondary2"),
        StoragePool(zone_id=zone.id, host_id=host.id, name="primary", path="primary", capacity=1000 << 30),
        *(
            TrafficType(physical_network_id=physical.id, type=kind, label=label)
            for kind, label in labels.items()
        ),
        *(
            PublicAddress(
                zone_id=zone.id, range_id=public.id, address=str(IPv4Address(first + at)), sort=first + at
            )
            for at in range(10)
        ),
    )
    cloud.run(names.ENSURE_SYSTEM_VMS, zone_id=zone.id)
    zone_id: str = zone.id
    return zone_id


def copy_to_make(cloud: SmallCloud) -> Arguments:
    zone_id = second_zone(cloud)
    with cloud.runtime.database.writing() as session:
        return {"copy_ids": [insert_copy(session, session.get_one(Template, cloud.template_id), zone_id).id]}


def copied_template(cloud: SmallCloud) -> Arguments:
    cloud.run(names.COPY_TEMPLATE, **copy_to_make(cloud))
    return {"template_id": cloud.template_id}


COPIES = (
    Scenario(names.COPY_TEMPLATE, copy_to_make, "copy a template", starts_clean=False),
    Scenario(
        names.COPY_TEMPLATE,
        refused("machine.put_state", copy_to_make),
        "copy a template, refused",
        succeeds=False,
        starts_clean=False,
    ),
    Scenario(names.DELETE_TEMPLATE, copied_template, "delete a template in two zones"),
)
