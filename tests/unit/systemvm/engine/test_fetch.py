"""Where downloads may go: judged for every URL, before any connection."""

from ipaddress import IPv4Network
from pathlib import Path

import pytest

from systemvm.engine.fetch import AddressRefused, Fetcher, FetchFailed

pytestmark = pytest.mark.unit


def fetcher(*addresses: str, allowed: tuple[str, ...] = ()) -> Fetcher:
    networks = tuple(IPv4Network(cidr) for cidr in allowed)
    return Fetcher(allowed=networks, resolve=lambda host, port: list(addresses))


def test_a_public_address_is_pinned() -> None:
    hop = fetcher("9.9.9.9", "1.1.1.1").judge("https://images.example/x")
    assert (hop.address, hop.url.host) == ("9.9.9.9", "images.example")


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
    ],
)
def test_special_ranges_need_the_operators_word(address: str) -> None:
    with pytest.raises(AddressRefused, match=address):
        fetcher(address).judge("http://x.example/")
    assert fetcher(address, allowed=(f"{address}/32",)).judge("http://x.example/").address == address


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "169.254.169.254", "169.254.0.1", "0.0.0.0"])  # noqa: S104
def test_the_machine_itself_and_its_control_network_never_open(address: str) -> None:
    with pytest.raises(AddressRefused, match="never"):
        fetcher(address, allowed=("0.0.0.0/0",)).judge("http://x.example/")


def test_one_bad_address_among_good_ones_is_enough() -> None:
    with pytest.raises(AddressRefused):
        fetcher("9.9.9.9", "10.0.0.1").judge("http://x.example/")


@pytest.mark.parametrize(
    "url", ["ftp://x/", "file:///etc/passwd", "http://", "gopher://x", "//x/y", "http://[::"]
)
def test_other_schemes_and_no_urls_are_refused(url: str) -> None:
    with pytest.raises(FetchFailed):
        fetcher("9.9.9.9").judge(url)


def test_secrets_of_a_url_stay_out_of_the_words() -> None:
    with pytest.raises(AddressRefused) as refusal:
        fetcher("10.0.0.1").judge("https://user:secret@x.example/image?signature=secret")
    assert "secret" not in str(refusal.value)
    assert "https://x.example/image" in str(refusal.value)


def test_a_refused_url_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(AddressRefused):
        fetcher("10.0.0.1").fetch("http://x.example/", tmp_path / "file", max_bytes=10)
    assert list(tmp_path.iterdir()) == []
