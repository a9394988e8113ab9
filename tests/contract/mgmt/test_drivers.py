"""Every driver passes the same tests: the simulator, and the KVM driver over real TLS, REST and tunnel."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from mgmt.agents.errors import AgentConflict, AgentError, AgentNotFound, AgentRefused, AgentUnreachable
from mgmt.agents.host import HostEndpoint
from mgmt.agents.tls import Credentials
from mgmt.drivers.kvm import KvmDriver
from mgmt.drivers.simulated_identity import SimulatedIdentity
from mgmt.drivers.simulator import Simulator
from mgmt.pki.authority import Authority, vm_name
from systemvm.spec.appliances import ImageFormat, TemplateSource, TemplateState, TemplateStatus
from systemvm.spec.certificate import SignedCertificate
from systemvm.spec.host import (
    CopyState,
    Departure,
    DomainSnapshot,
    GuestNetwork,
    HostState,
    Landing,
    Peer,
    SharedPool,
    Volume,
    VolumeCopy,
    VolumeFetch,
)
from tests.contract.mgmt.driver_bench import (
    COPY,
    DATA,
    DISK,
    HOST,
    NETWORK,
    OTHER,
    POOL,
    ROUTER,
    VM,
    Bench,
    machine_document,
)
from tests.contract.mgmt.simulated_host import SimulatedHostServer

pytestmark = pytest.mark.contract


@pytest.fixture(params=["simulator", "kvm"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    authority = Authority(tmp_path / "pki")
    simulator = Simulator()
    if request.param == "simulator":
        host = HostEndpoint(id=HOST, name="host1", address="172.31.240.1")
        own = authority.host_agent(HOST, host.address)
        simulator.host(host).identity = SimulatedIdentity("host host1", own.certificate, own.key)
        yield Bench(simulator, host, simulator, authority)
        return
    server = SimulatedHostServer(authority, HOST, simulator, tmp_path)
    credentials = Credentials(authority.server_ca, authority.management_file)
    yield Bench(KvmDriver(credentials), server.endpoint, simulator, authority)
    server.close()


@pytest.fixture
def other(bench: Bench, tmp_path: Path) -> Iterator[HostEndpoint]:
    """A second host of the same kind."""
    if isinstance(bench.driver, Simulator):
        yield HostEndpoint(id=OTHER, name="host2", address="172.31.240.2")
        return
    server = SimulatedHostServer(bench.authority, OTHER, bench.simulator, tmp_path, "127.0.0.2")
    yield server.endpoint
    server.close()


def _state(generation: int = 1) -> HostState:
    return HostState(generation=generation, host=HOST, networks=(GuestNetwork(id=NETWORK, vni=10000),))


def test_a_host_says_who_it_is(bench: Bench) -> None:
    info = bench.driver.info(bench.host)
    assert info.host == HOST
    assert info.memory_mib > 0
    assert "primary" in info.pools


def test_a_domain_needs_its_bridge_and_then_lives_until_it_is_deleted(bench: Bench) -> None:
    with pytest.raises(AgentRefused, match="bridge 'brvx-10000' is not in the host's state"):
        bench.driver.put_domain(bench.host, bench.guest())
    bench.driver.put_state(bench.host, _state())
    assert bench.driver.put_domain(bench.host, bench.guest()).state == "running"
    assert bench.driver.put_domain(bench.host, bench.guest()).state == "running"
    (status,) = bench.driver.all_domains(bench.host)
    assert (status.id, status.state) == (VM, "running")
    assert bench.driver.put_domain(bench.host, bench.guest("stopped"), force=True).state == "stopped"
    bench.driver.delete_domain(bench.host, VM)
    bench.driver.delete_domain(bench.host, VM)
    assert bench.driver.domain_status(bench.host, VM) is None


def test_an_older_host_state_is_refused(bench: Bench) -> None:
    assert bench.driver.state(bench.host) is None
    bench.driver.put_state(bench.host, _state(5))
    assert bench.driver.state(bench.host) == _state(5)
    with pytest.raises(AgentConflict, match="4"):
        bench.driver.put_state(bench.host, _state(4))


def test_a_volume_of_its_own_outlives_its_vm(bench: Bench) -> None:
    bench.driver.put_state(bench.host, _state())
    volume = bench.driver.put_volume(bench.host, Volume(id=DATA, pool="primary", bytes=1 << 20))
    assert (volume.bytes, volume.domain) == (1 << 20, "")
    assert bench.driver.all_volumes(bench.host) == [volume]
    bench.driver.put_domain(bench.host, bench.guest(disks=(DISK, DATA)))
    for pool in ("", "primary"):
        with pytest.raises(AgentConflict, match=f"attached to VM {VM}"):
            bench.driver.delete_volume(bench.host, DATA, pool)
    bench.driver.delete_volume(bench.host, DATA, "elsewhere")  # has no file of that name, so none is in use
    assert DATA in {volume.id for volume in bench.driver.all_volumes(bench.host)}
    bench.driver.delete_domain(bench.host, VM)
    assert set(bench.simulator.hosts[bench.host.address].volumes) == {DATA}
    bench.driver.delete_volume(bench.host, DATA)
    assert bench.simulator.hosts[bench.host.address].volumes == {}


def test_hosts_share_a_pool_and_the_volumes_in_it(bench: Bench, other: HostEndpoint) -> None:
    simulator, driver = bench.simulator, bench.driver
    pool, volume = SharedPool(id=POOL, path="/mnt/x"), Volume(id=DATA, pool=POOL, bytes=1 << 20)
    with pytest.raises(AgentConflict, match=POOL):
        driver.put_pool(bench.host, pool)
    with pytest.raises(AgentRefused, match="no pool"):
        driver.put_volume(bench.host, volume)
    new = msgspec.structs.replace(pool, is_new=True)
    assert driver.put_pool(bench.host, new) == driver.put_pool(bench.host, pool)
    assert driver.info(bench.host).pools[POOL][0] > 0
    simulator.put_pool(other, pool)
    driver.put_volume(bench.host, volume)
    assert [found.pool for found in simulator.all_volumes(other)] == [POOL]
    with pytest.raises(AgentConflict, match="has volumes"):
        driver.delete_pool(bench.host, POOL)
    simulator.delete_volume(other, DATA)
    assert driver.all_volumes(bench.host) == []
    for _ in range(2):
        driver.delete_pool(bench.host, POOL)
    assert POOL not in driver.info(bench.host).pools
    assert POOL not in simulator.info(other).pools, "its mark is gone"


def test_a_vm_goes_back_to_a_snapshot(bench: Bench) -> None:
    bench.driver.put_state(bench.host, _state())
    with_memory, without = DomainSnapshot(id=NETWORK, memory=True), DomainSnapshot(id=DATA)
    with pytest.raises(AgentNotFound, match=f"no VM {VM}"):
        bench.driver.put_snapshot(bench.host, VM, without)
    bench.driver.put_domain(bench.host, bench.guest("stopped"))
    with pytest.raises(AgentRefused, match="does not run, so it has no memory"):
        bench.driver.put_snapshot(bench.host, VM, with_memory)
    for _ in range(2):
        assert bench.driver.put_snapshot(bench.host, VM, without).state == "stopped"
    assert bench.driver.revert(bench.host, VM, without).state == "stopped"
    bench.driver.put_domain(bench.host, bench.guest())
    with pytest.raises(AgentRefused, match="must be stopped"):
        bench.driver.revert(bench.host, VM, without)
    bench.driver.put_snapshot(bench.host, VM, with_memory)
    assert bench.driver.revert(bench.host, VM, with_memory).state == "running"
    for _ in range(2):
        assert bench.driver.delete_snapshot(bench.host, VM, with_memory.id).state == "running"
    with pytest.raises(AgentRefused, match=f"is not in volume {DISK}"):
        bench.driver.revert(bench.host, VM, with_memory)


def test_a_copy_of_a_volume_goes_to_the_storage_vm_once_and_is_forgotten(bench: Bench) -> None:
    copy = VolumeCopy(
        id=COPY,
        volume=DATA,
        url=f"https://172.31.240.9:8444/v1/uploads/{COPY}?ticket=x",
        server_name=vm_name(ROUTER),
        server_ca=bench.authority.server_ca,
    )
    assert bench.driver.copy_status(bench.host, COPY) is None
    with pytest.raises(AgentNotFound, match=f"no volume {DATA}"):
        bench.driver.put_copy(bench.host, copy)
    bench.driver.put_volume(bench.host, Volume(id=DATA, pool="primary", bytes=1 << 20))
    assert bench.driver.put_copy(bench.host, copy).state is CopyState.failed, "there is no storage VM"

    storage = bench.storage_vm()
    assert bench.driver.put_copy(bench.host, copy).error.startswith(COPY), "it is not listed there"
    storage.put_state(bench.storage_document(2, TemplateSource(id=COPY, format=ImageFormat.qcow2)))
    (waiting,) = storage.read("storage/templates", list[TemplateStatus])
    assert waiting.state is TemplateState.waiting
    done = bench.driver.put_copy(bench.host, copy)
    assert (done.state, done.volume, done.size) == (CopyState.done, DATA, 1 << 20)
    assert bench.driver.put_copy(bench.host, copy) == bench.driver.copy_status(bench.host, COPY) == done
    (ready,) = storage.read("storage/templates", list[TemplateStatus])
    assert (ready.state, ready.sha256) == (TemplateState.ready, done.sha256)
    for _ in range(2):
        bench.driver.delete_copy(bench.host, COPY)
    assert bench.driver.copy_status(bench.host, COPY) is None

    both = [
        TemplateSource(id=COPY, format=ImageFormat.qcow2),
        TemplateSource(id=DISK, format=ImageFormat.qcow2, copy_of=COPY),
    ]
    storage.put_state(bench.storage_document(3, *both))
    found = {each.id: each for each in storage.read("storage/templates", list[TemplateStatus])}
    assert found[DISK].sha256 == found[COPY].sha256


def test_a_volume_is_made_anew_only_while_no_vm_runs_with_it(bench: Bench) -> None:
    bench.driver.put_state(bench.host, _state())
    volume = Volume(id=DATA, pool="primary", bytes=1 << 20)
    bench.driver.put_volume(bench.host, volume)
    bench.driver.put_domain(bench.host, bench.guest(disks=(DISK, DATA)))
    with pytest.raises(AgentConflict, match=f"in use by running VM {VM}"):
        bench.driver.put_volume(bench.host, volume, replace=True)
    bench.driver.put_domain(bench.host, bench.guest("stopped", disks=(DISK, DATA)), force=True)
    assert bench.driver.put_volume(bench.host, volume, replace=True).domain == VM


def peer(bench: Bench, host: HostEndpoint, subject: str) -> Peer:
    leaf = bench.authority.migration_client(subject)
    return Peer(
        address=host.address,
        server_name=host.server_name or "host",
        server_ca=bench.authority.server_ca,
        certificate=leaf.certificate,
        key=leaf.key,
    )


def test_a_vm_moves_to_another_host(bench: Bench, other: HostEndpoint) -> None:
    driver = bench.driver
    for host in (bench.host, other):
        driver.put_state(host, msgspec.structs.replace(_state(), host=host.id))
    driver.put_domain(bench.host, bench.guest())
    landing = Landing(disks={}, serial_log="", vnc_socket="")
    departure = Departure(to=peer(bench, other, VM), landing=landing, copies=(DISK,))
    with pytest.raises(AgentError, match=f"no landing of VM {VM}"):
        driver.depart(bench.host, VM, departure)
    for _ in range(2):
        assert set((driver.put_landing(other, bench.guest()) or landing).disks) == {DISK}
    assert driver.domain_status(other, VM) is None
    for _ in range(2):
        assert driver.depart(bench.host, VM, departure).state == "stopped"
    (status,) = driver.all_domains(other)
    assert (status.id, status.state) == (VM, "running")
    assert driver.put_domain(other, bench.guest()).state == "running"
    driver.close_landing(other, VM)
    driver.delete_domain(bench.host, VM, keep_volumes=True)
    assert [volume.domain for volume in driver.all_volumes(bench.host)] == [""]
    driver.delete_volume(bench.host, DISK)
    assert [volume.domain for volume in driver.all_volumes(other)] == [VM]


def test_a_volume_is_fetched_from_another_host(bench: Bench, other: HostEndpoint) -> None:
    driver, volume = bench.driver, Volume(id=DATA, pool="primary", bytes=1 << 20)
    copy = VolumeFetch(volume=volume, source=peer(bench, bench.host, DATA), keep=True)
    for verb in (driver.fetch_base, driver.fetch_volume):
        with pytest.raises(AgentError, match=f"no volume {DATA}"):
            verb(other, copy)
    driver.put_volume(bench.host, volume)
    for verb in (driver.fetch_base, driver.fetch_volume, driver.fetch_volume):
        assert verb(other, copy)
    assert [found.id for found in driver.all_volumes(other)] == [DATA]


def test_a_running_vms_disk_moves_to_another_pool(bench: Bench, tmp_path: Path) -> None:
    driver, host = bench.driver, bench.host
    driver.put_state(host, _state())
    driver.put_pool(host, SharedPool(id=POOL, path="/mnt/x", is_new=True))
    driver.put_domain(host, bench.guest())
    target = Volume(id=DISK, pool=POOL, bytes=1 << 20)
    copy = VolumeFetch(volume=target, source=peer(bench, host, DISK), pool="primary", keep=True)
    with pytest.raises(AgentNotFound, match=f"no VM {OTHER}"):
        driver.move_disk(host, OTHER, copy)
    for changed, words in (({"pool": "no"}, "no pool 'no'"), ({"id": DATA}, f"does not have volume {DATA}")):
        wrong = msgspec.structs.replace(copy, volume=msgspec.structs.replace(target, **changed))
        with pytest.raises(AgentRefused, match=words):
            driver.move_disk(host, VM, wrong)
    for _ in range(2):
        assert driver.move_disk(host, VM, copy).state == "running"
    assert {(one.pool, one.domain) for one in driver.all_volumes(host)} == {(POOL, VM), ("primary", "")}
    with pytest.raises(AgentError, match="by now, not in"):
        driver.put_domain(host, bench.guest())
    with pytest.raises(AgentConflict, match=f"attached to VM {VM}"):
        driver.delete_volume(host, DISK, POOL)
    driver.delete_volume(host, DISK, "primary")
    assert [one.pool for one in driver.all_volumes(host)] == [POOL]


def test_a_machine_is_configured_through_its_host(bench: Bench) -> None:
    agent = bench.driver.machine(bench.machine()) if bench.simulator.machines else None
    assert agent is None
    bench.driver.put_domain(bench.host, bench.router())
    agent = bench.driver.machine(bench.machine())
    assert agent.health().applied is None
    assert agent.put_state(machine_document(1)).result == "applied"
    assert agent.put_state(machine_document(1)).result == "unchanged"
    assert agent.health().applied == 1
    with pytest.raises(AgentConflict, match="other content"):
        agent.put_state(machine_document(1, hostname="other"))
    assert agent.read("storage/templates", list[TemplateStatus]) == []
    with pytest.raises(AgentNotFound, match="nonsense"):
        agent.read("nonsense", list[str])


def test_a_refusal_carries_every_problem(bench: Bench) -> None:
    bench.driver.put_domain(bench.host, bench.router())
    agent = bench.driver.machine(bench.machine())
    with pytest.raises(AgentRefused) as refused:
        agent.put_state(machine_document(2, machine=VM, mac="02:00:00:00:00:99"))
    assert [problem.path for problem in refused.value.problems] == ["machine", "interfaces.nics[0].mac"]
    assert "machine: this is " in str(refused.value)


def test_an_ill_machine_is_an_answer(bench: Bench) -> None:
    bench.driver.put_domain(bench.host, bench.router())
    bench.simulator.machines[ROUTER].is_healthy = False
    health = bench.driver.machine(bench.machine()).health()
    assert (health.healthy, health.message) == (False, "told to be ill")


def test_a_certificate_is_renewed_over_the_connection(bench: Bench) -> None:
    bench.driver.put_domain(bench.host, bench.router())
    machine = bench.driver.machine(bench.machine())
    host = bench.driver.certificates(bench.host)
    before = machine.certificate(), host.certificate()
    assert host.relay_certificate() == before[1]
    assert before[0].share_left(before[0].ends) == 0
    authority = bench.authority
    for agent, signed in (
        (machine, authority.renew_machine_agent(machine.request_certificate().csr, ROUTER, "169.254.1.5")),
        (host, authority.renew_host_agent(host.request_certificate().csr, HOST, bench.host.address)),
    ):
        taken = agent.put_certificate(SignedCertificate(certificate=signed, authority=authority.server_ca))
        shown = agent.certificate()
        assert (shown.serial, shown.ends.timestamp()) == (taken.serial, taken.ends)
        with pytest.raises(AgentConflict, match="no request is open"):
            agent.put_certificate(SignedCertificate(certificate=signed, authority=authority.server_ca))
    assert machine.health().applied is None
    assert host.relay_certificate() == host.certificate() != before[1]
    machine.request_certificate()
    with pytest.raises(AgentRefused, match="another key"):
        machine.put_certificate(SignedCertificate(certificate=signed, authority=authority.server_ca))


def test_nobody_home(bench: Bench) -> None:
    with pytest.raises(AgentUnreachable):
        bench.driver.machine(bench.machine()).health()
    gone = msgspec.structs.replace(bench.host, address="127.0.0.9", port=1)
    if isinstance(bench.driver, KvmDriver):
        with pytest.raises(AgentUnreachable, match="GET /v1/info"):
            bench.driver.info(gone)


def test_another_machine_at_the_same_address_is_not_believed(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "pki")
    simulator = Simulator()
    server = SimulatedHostServer(authority, HOST, simulator, tmp_path)
    driver = KvmDriver(Credentials(authority.server_ca, authority.management_file))
    bench = Bench(driver, server.endpoint, simulator, authority)
    driver.put_domain(bench.host, bench.router())
    with pytest.raises(AgentUnreachable, match="CERTIFICATE_VERIFY_FAILED"):
        driver.machine(bench.machine(vm_name(VM))).health()
    wrong = msgspec.structs.replace(bench.host, server_name=vm_name(VM))
    with pytest.raises(AgentUnreachable, match="CERTIFICATE_VERIFY_FAILED"):
        driver.info(wrong)
    server.close()
