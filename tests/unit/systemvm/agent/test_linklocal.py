"""The NIC of the control channel is found by MAC, whatever the kernel called it."""

from pathlib import Path

import msgspec
import pytest

from systemvm.agent.errors import BootError
from systemvm.agent.linklocal import set_up_linklocal
from systemvm.engine.service import Doors
from systemvm.engine.testing import RecordedRunner, recorded_doors
from tests.unit.systemvm.agent.test_config_disk import BOOTSTRAP

pytestmark = pytest.mark.unit


def add_link(root: Path, name: str, mac: str) -> None:
    folder = root / "sys/class/net" / name
    folder.mkdir(parents=True)
    (folder / "address").write_text(f"{mac}\n")


@pytest.fixture
def doors(tmp_path: Path) -> Doors:
    ticks = iter(range(0, 10_000, 5))
    made = recorded_doors(tmp_path, now=lambda: float(next(ticks)))
    add_link(tmp_path, "lo", "00:00:00:00:00:00")
    (tmp_path / "sys/class/net/bonding_masters").write_text("")
    return made


def batch(doors: Doors) -> list[str]:
    assert isinstance(doors.run, RecordedRunner)
    assert doors.run.calls == [("ip", "-batch", "-")]
    (stdin,) = doors.run.stdins
    assert stdin is not None
    return stdin.splitlines()


END = ["link set dev link0 up", "address replace 169.254.1.2/16 dev link0"]


def test_renamed_addressed_up(doors: Doors) -> None:
    add_link(doors.root, "ens3", "0e:00:a9:fe:01:02")
    set_up_linklocal(BOOTSTRAP, doors)
    assert batch(doors) == ["link set dev ens3 down", "link set dev ens3 name link0", *END]


def test_already_so_after_a_restart_of_the_agent(doors: Doors) -> None:
    add_link(doors.root, "link0", "0e:00:a9:fe:01:02")
    set_up_linklocal(BOOTSTRAP, doors)
    assert batch(doors) == END


def test_another_nic_has_the_name(doors: Doors) -> None:
    add_link(doors.root, "link0", "02:00:00:00:00:07")
    add_link(doors.root, "link1", "0e:00:a9:fe:01:02")
    set_up_linklocal(BOOTSTRAP, doors)
    moved = ["link set dev link0 down", "link set dev link0 name was-link0"]
    assert batch(doors) == [*moved, "link set dev link1 down", "link set dev link1 name link0", *END]


def test_no_such_nic(doors: Doors) -> None:
    with pytest.raises(BootError, match="no NIC has the MAC 0e:00:a9:fe:01:02"):
        set_up_linklocal(BOOTSTRAP, doors, sleep=lambda _: None)


def test_a_bootstrap_without_a_control_channel(doors: Doors) -> None:
    with pytest.raises(ValueError, match="has no linklocal NIC"):
        set_up_linklocal(msgspec.structs.replace(BOOTSTRAP, nics=()), doors)
