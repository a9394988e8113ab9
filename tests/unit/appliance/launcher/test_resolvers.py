"""Which of a machine's DNS servers its guests can ask."""

from pathlib import Path

import pytest

from appliance.launcher.resolvers import read_resolvers

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "behind", "found"),
    [
        ("nameserver 192.0.2.53\n", None, ("192.0.2.53",)),
        ("# nameserver 9.9.9.9\nnameserver\nsearch x\nnameserver 10.0.0.2 # two\n", None, ("10.0.0.2",)),
        ("nameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver 10.0.0.3\n", None, ("10.0.0.1", "10.0.0.2")),
        ("nameserver 127.0.0.53\n", "nameserver 192.0.2.1\n", ("192.0.2.1",)),
        ("nameserver 127.0.0.1\nnameserver ::1\n", None, ()),
        ("nameserver fe80::1%eth0\nnameserver 0.0.0.0\nnameserver 169.254.1.1\n", None, ()),
        ("nameserver 10.0.0.1;reboot\n\xff\n", "", ()),
    ],
)
def test_resolvers(tmp_path: Path, text: str, behind: str | None, found: tuple[str, ...]) -> None:
    files = tmp_path / "resolv.conf", tmp_path / "behind.conf"
    files[0].write_bytes(text.encode("latin-1"))
    if behind is not None:
        files[1].write_text(behind)
    assert read_resolvers(files) == found


def test_a_machine_without_any(tmp_path: Path) -> None:
    assert read_resolvers((tmp_path / "none",)) == ()
