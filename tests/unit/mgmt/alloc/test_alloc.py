"""Who gets what: first free, never twice, and a reason when there is none."""

import threading

import pytest

from mgmt.alloc.addresses import claim, release
from mgmt.alloc.control import linklocal_address, management_address
from mgmt.alloc.guests import guest_address
from mgmt.alloc.macs import new_mac
from mgmt.alloc.vnis import new_vni
from mgmt.model.errors import NoCapacity, ParameterError
from mgmt.store.tables import Network, PhysicalNetwork, PublicAddress, Vm
from tests.unit.mgmt.small_cloud import SmallCloud

pytestmark = pytest.mark.unit


def test_macs_are_local_unicast_and_different(bare_cloud: SmallCloud) -> None:
    with bare_cloud.runtime.database.reading() as session:
        macs = {new_mac(session) for _ in range(200)}
    assert len(macs) == 200
    assert {int(mac[:2], 16) & 3 for mac in macs} == {2}


def test_guest_addresses(bare_cloud: SmallCloud) -> None:
    network = bare_cloud.new_network()
    vm = bare_cloud.new_vm(network)
    with bare_cloud.runtime.database.reading() as session:
        assert guest_address(session, network) == "10.1.1.3"
        assert guest_address(session, network, "10.1.1.77") == "10.1.1.77"
        for wanted, words in [
            ("10.1.1.2", "already taken"),
            ("10.1.1.1", "already taken"),
            ("10.1.1.255", "not one that a VM can have"),
            ("10.9.9.9", "not one that a VM can have"),
            ("ten", "not an IPv4 address"),
        ]:
            with pytest.raises(ParameterError, match=words):
                guest_address(session, network, wanted)
    small = bare_cloud.new_network("small", "10.2.0.0/30")
    bare_cloud.new_vm(small, "other")
    with pytest.raises(NoCapacity, match=r"small \(10\.2\.0\.0/30\) has no free address"):
        bare_cloud.new_vm(small, "third")
    assert vm.id


def test_public_addresses_are_claimed_once_under_contention(bare_cloud: SmallCloud) -> None:
    network = bare_cloud.new_network()
    claimed: list[str] = []
    errors: list[str] = []
    barrier = threading.Barrier(12)

    def take() -> None:
        barrier.wait()
        try:
            with bare_cloud.runtime.database.writing() as session:
                claimed.append(claim(session, network=session.get_one(Network, network.id)).address)
        except NoCapacity as error:
            errors.append(error.text)

    threads = [threading.Thread(target=take) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == [f"172.31.241.{last}" for last in range(10, 20)]
    assert errors == ["the zone has no free public IP address: release one, or add a range"] * 2


def test_a_wanted_public_address(bare_cloud: SmallCloud) -> None:
    network = bare_cloud.new_network()
    with bare_cloud.runtime.database.writing() as session:
        row = session.get_one(Network, network.id)
        assert claim(session, network=row, address="172.31.241.15").account_id == bare_cloud.account_id
        with pytest.raises(ParameterError, match=r"172.31.241.15 is not free"):
            claim(session, network=row, address="172.31.241.15")
    taken = next(row for row in bare_cloud.rows(PublicAddress) if row.state == "Allocated")
    with bare_cloud.runtime.database.writing() as session:
        release(session, session.get_one(PublicAddress, taken.id))
        assert claim(session, network=row).address == "172.31.241.10"


def test_control_addresses(cloud: SmallCloud) -> None:
    assert sorted(str(vm.linklocal_address) for vm in cloud.rows(Vm)) == ["169.254.1.0", "169.254.1.1"]
    assert sorted(str(vm.management_address) for vm in cloud.rows(Vm)) == ["172.31.240.10", "172.31.240.11"]
    with cloud.runtime.database.reading() as session:
        assert linklocal_address(session, cloud.host_id) == "169.254.1.2"
        assert linklocal_address(session, "another-host") == "169.254.1.0"
        assert management_address(session, cloud.zone_id)[0] == "172.31.240.12"


def test_vnis(bare_cloud: SmallCloud) -> None:
    network = bare_cloud.new_network()
    with bare_cloud.runtime.database.writing() as session:
        physical = session.query(PhysicalNetwork).one()
        physical.vni_last = physical.vni_first
        row = session.get_one(Network, network.id)
        row.vni = new_vni(session, bare_cloud.zone_id)
        assert row.vni == physical.vni_first
        session.flush()
        with pytest.raises(NoCapacity, match="no free VXLAN id"):
            new_vni(session, bare_cloud.zone_id)
