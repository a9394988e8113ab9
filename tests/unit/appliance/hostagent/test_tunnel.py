"""Where the tunnel leads."""

import pytest

from appliance.hostagent.tunnel import Refusal, allowed_address

pytestmark = pytest.mark.unit


def test_system_vms_agents() -> None:
    assert allowed_address(b"CONNECT 169.254.3.4:8443 HTTP/1.1\r\nHost: x\r\n\r\n", 8443) == "169.254.3.4"


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("169.254.0.1:8443", 403),
        ("169.254.0.0:8443", 403),
        ("169.254.255.255:8443", 403),
        ("169.255.0.1:8443", 403),
        ("10.0.0.1:8443", 403),
        ("169.254.3.4:22", 403),
        ("169.254.3.4:0", 403),
        ("169.254.3.4:99999", 403),
        ("169.254.3.400:8443", 400),
        ("169.254.3:8443", 400),
        ("[::1]:8443", 400),
        ("localhost:8443", 400),
    ],
)
def test_nowhere_else(target: str, status: int) -> None:
    with pytest.raises(Refusal) as refusal:
        allowed_address(f"CONNECT {target} HTTP/1.1\r\n\r\n".encode(), 8443)
    assert refusal.value.status == status


def test_other_methods() -> None:
    with pytest.raises(Refusal) as refusal:
        allowed_address(b"GET http://169.254.3.4:8443/ HTTP/1.1\r\n\r\n", 8443)
    assert refusal.value.status == 405
