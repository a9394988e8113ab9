"""Two guests with curl, each seeing only its own."""

import base64
import pwd
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from systemvm.services.metadata.reads import READS
from systemvm.services.metadata.settings import DATA
from systemvm.spec.network import GuestMetadata, GuestPassword, Metadata, Nftables
from tests.netns.router_bench import ADDRESSES, GATEWAY, PUBLIC, RouterBench
from tests.netns.topology import Machine, eventually

pytestmark = pytest.mark.netns

EVERYWHERE = "169.254.169.254"
SCRIPT = b"#!/bin/sh\necho '\xff binary too'\n"
FIRST = GuestPassword(id="00000000-0000-4000-8000-0000000000f1", value="Correct-Horse 1 'quoted'")


def guest(name: str, **changes: Any) -> GuestMetadata:
    facts = {
        "local-hostname": f"vm-{name}",
        "instance-id": f"id-of-{name}",
        "public-keys": f"ssh-ed25519 AAAA{name}\nssh-rsa BBBB{name}",
        "network/interfaces/0/mac": "0e:00",
        "availability-zone": "",
    }
    data = base64.b64encode(SCRIPT + name.encode()).decode()
    return GuestMetadata(**{"address": ADDRESSES[name], "user_data": data, "meta_data": facts, **changes})


def metadata(*guests: GuestMetadata) -> Metadata:
    return Metadata(interfaces=("eth2",), guests=guests or (guest("a", password=FIRST), guest("b")))


def curl(machine: Machine, url: str, *options: str) -> tuple[int, str]:
    """Status and body; 0 when there is no answer."""
    done = machine.run(
        "curl",
        "-s",
        "-m",
        "3",
        "--path-as-is",
        "-w",
        "\n%{http_code}",
        *options,
        f"http://{url}",
        check=False,
    )
    body, _, status = done.stdout.rpartition("\n")
    return int(status or 0), body


def ask_password(machine: Machine, word: str, address: str = GATEWAY) -> str:
    """As the guests' scripts do: the path is of no matter, the word is in the header."""
    status, body = curl(machine, f"{address}:8080", "-H", f"DomU_Request: {word}")
    assert status == 200
    return body


def workers(bench: RouterBench) -> dict[int, dict[str, str]]:
    """What the kernel knows of the server's processes, the main one first."""
    with bench.router.entered():
        main = bench.doors.daemons.pid("metadata")
    children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
    return {pid: _status(pid) for pid in (int(str(main)), *map(int, children))}


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


@pytest.mark.parametrize("address", [GATEWAY, EVERYWHERE])
def test_each_guest_reads_its_own(bench: RouterBench, address: str) -> None:
    outcome = bench.put(metadata=metadata(), nftables=Nftables())
    assert all(probe.healthy for probe in outcome.probes)
    for name in ("a", "b"):
        machine = bench.guests[name].machine
        assert curl(machine, f"{address}/latest/meta-data/local-hostname") == (200, f"vm-{name}")
        assert curl(machine, f"{address}/latest/meta-data/instance-id") == (200, f"id-of-{name}")
        keys = f"ssh-ed25519 AAAA{name}\nssh-rsa BBBB{name}"
        assert curl(machine, f"{address}/latest/meta-data/public-keys") == (200, keys)
        listing = "local-hostname\ninstance-id\npublic-keys\nnetwork/\navailability-zone"
        for path in ("latest/meta-data/", "latest/meta-data", "2009-04-04/meta-data/", "1.0/meta-data/"):
            status, body = curl(machine, f"{address}/{path}")
            assert (status, sorted(body.splitlines())) == (200, sorted(listing.splitlines()))
        assert curl(machine, f"{address}/latest/meta-data/network/") == (200, "interfaces/")
        assert curl(machine, f"{address}/latest/meta-data/network/interfaces/0/mac") == (200, "0e:00")
        assert curl(machine, f"{address}/latest/local-hostname") == (200, f"vm-{name}")
        assert curl(machine, f"{address}/latest/meta-data/availability-zone") == (200, "")
        assert curl(machine, f"{address}/") == (200, "latest\n")


def test_user_data_comes_back_byte_by_byte(bench: RouterBench, tmp_path: Path) -> None:
    bench.put(metadata=metadata(), nftables=Nftables())
    path = tmp_path / "user-data"
    bench.guests["b"].machine.run("curl", "-sf", "-o", str(path), f"http://{GATEWAY}/latest/user-data")
    assert path.read_bytes() == SCRIPT + b"b"


def test_nothing_in_a_request_makes_another_guest_of_it(bench: RouterBench) -> None:
    bench.put(metadata=metadata(guest("a", password=FIRST)), nftables=Nftables())
    stranger = bench.guests["b"].machine
    lies = [
        "X-Forwarded-For: 10.1.1.10",
        "X-Real-IP: 10.1.1.10",
        "Forwarded: for=10.1.1.10",
        "Host: 10.1.1.10",
    ]
    options = [word for lie in lies for word in ("-H", lie)]
    for path in (
        "latest/user-data",
        "latest/meta-data/",
        "latest/meta-data/local-hostname",
        "10.1.1.10/latest/user-data",
        "latest/../../../../etc/pileus/metadata/guests.json",
        "latest/meta-data/%2e%2e/%2e%2e/guests.json",
        "//latest//user-data",
        "pileus/health",
    ):
        assert curl(stranger, f"{GATEWAY}/{path}", *options) == (404, "not found\n"), path
    status, body = curl(stranger, f"{GATEWAY}:8080/", "-H", "DomU_Request: send_my_password", *options)
    assert (status, body) == (404, "not found\n")
    assert curl(bench.guests["a"].machine, f"{GATEWAY}/pileus/health") == (404, "not found\n")
    known = bench.guests["a"].machine
    assert curl(known, f"{GATEWAY}/latest/../../../etc/passwd")[0] == 404
    assert curl(known, f"{GATEWAY}/latest/meta-data/nothing") == (404, "not found\n")


def test_outside_sees_nothing(bench: RouterBench) -> None:
    bench.put(metadata=metadata(), nftables=Nftables())
    bench.internet.run("ip", "route", "add", "10.1.1.0/24", "via", PUBLIC)
    for address in (PUBLIC, GATEWAY, f"{PUBLIC}:8080", f"{GATEWAY}:8080"):
        assert curl(bench.internet, f"{address}/latest/user-data")[0] == 0
    assert curl(bench.host, "169.254.7.7/latest/user-data")[0] == 0
    assert curl(bench.host, f"{EVERYWHERE}/latest/user-data")[0] == 0


@pytest.mark.parametrize("address", [GATEWAY, EVERYWHERE])
def test_password_is_given_until_saved_and_never_again(bench: RouterBench, address: str) -> None:
    bench.put(metadata=metadata(), nftables=Nftables())
    a, b = (bench.guests[name].machine for name in ("a", "b"))
    assert ask_password(b, "send_my_password", address) == "saved_password"
    assert ask_password(a, "send_my_password", address) == FIRST.value
    # The answer may have been lost: it is given until the guest says that it has it.
    assert ask_password(a, "send_my_password", address) == FIRST.value
    assert ask_password(a, "saved_password", address) == "saved_password"
    assert ask_password(a, "send_my_password", address) == "saved_password"
    assert curl(a, f"{address}:8080/", "-H", "DomU_Request: give_me_all") == (400, "bad_request")
    assert curl(a, f"{address}:8080/") == (400, "bad_request")
    with bench.router.entered():
        taken = READS["passwords"](bench.doors)
    assert [(row["id"], row["address"]) for row in taken] == [(FIRST.id, "10.1.1.10")]


def test_taken_password_stays_taken_and_a_new_one_is_given(bench: RouterBench) -> None:
    bench.put(metadata=metadata(), nftables=Nftables())
    a = bench.guests["a"].machine
    assert ask_password(a, "send_my_password") == FIRST.value
    ask_password(a, "saved_password")
    with bench.router.entered():
        first = bench.doors.daemons.pid("metadata")
        bench.doors.daemons.stop("metadata")
    bench.put(metadata=metadata(), nftables=Nftables())
    with bench.router.entered():
        second = bench.doors.daemons.pid("metadata")
    assert second not in (None, first)
    assert ask_password(a, "send_my_password") == "saved_password"
    fresh = GuestPassword(id="00000000-0000-4000-8000-0000000000f2", value="another")
    bench.put(metadata=metadata(guest("a", password=fresh)), nftables=Nftables())
    assert ask_password(a, "send_my_password") == "another"
    with bench.router.entered():
        # Another file is enough: the same process serves it. What no document speaks of is forgotten.
        assert bench.doors.daemons.pid("metadata") == second
        assert READS["passwords"](bench.doors) == []


def test_secrets_are_for_the_server_alone(bench: RouterBench) -> None:
    bench.put(metadata=metadata(), nftables=Nftables())
    assert bench.router.run("stat", "-c", "%a %U", DATA).stdout == "400 www-data\n"
    with bench.router.entered():
        pid = bench.doors.daemons.pid("metadata")
    argv = bench.router.run("cat", f"/proc/{pid}/cmdline", f"/proc/{pid}/environ").stdout
    assert FIRST.value not in argv
    users = [status["Uid"].split()[0] for status in workers(bench).values()]
    assert users == ["0", str(pwd.getpwnam("www-data").pw_uid)]
    listening = bench.router.run("ss", "-ltnH").stdout
    assert sorted(line.split()[3] for line in listening.splitlines()) == ["10.1.1.1:80", "10.1.1.1:8080"]


def test_probe_tells_a_dead_server_and_other_data(bench: RouterBench) -> None:
    bench.put(metadata=metadata(), nftables=Nftables())
    assert bench.unhealthy() == []
    with bench.router.entered():
        text = Path(DATA).read_text()
        Path(DATA).write_text(text.replace("vm-a", "vm-x"))
    assert "another document" in " ".join(bench.unhealthy())
    with bench.router.entered():
        Path(DATA).write_text(text)
        eventually(lambda: bench.unhealthy() == [], "it serves the document again")
        bench.doors.daemons.stop("metadata")
    assert "no answer" in " ".join(bench.unhealthy())


def test_ten_thousand_guests(bench: RouterBench) -> None:
    nics = list(bench.state().interfaces.nics)
    nics[1] = msgspec.structs.replace(nics[1], addresses=("10.1.1.1/16",))
    interfaces = msgspec.structs.replace(bench.state().interfaces, nics=tuple(nics))
    many = [
        msgspec.structs.replace(guest("a"), address=f"10.1.{i // 250 + 2}.{i % 250 + 1}")
        for i in range(10_000)
    ]
    started = time.monotonic()
    bench.put(interfaces=interfaces, metadata=metadata(*many, guest("b")), nftables=Nftables())
    print(f"10,000 guests applied in {time.monotonic() - started:.2f} s")
    b = bench.guests["b"].machine
    started = time.monotonic()
    assert curl(b, f"{GATEWAY}/latest/meta-data/local-hostname") == (200, "vm-b")
    assert time.monotonic() - started < 1
    print(f"resident: {[status['VmRSS'] for status in workers(bench).values()]}")
