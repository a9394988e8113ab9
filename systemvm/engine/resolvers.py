"""Which DNS servers a machine asks: resolv.conf(5), written and read."""

from collections.abc import Iterable
from pathlib import Path

RESOLV_CONF = "/etc/resolv.conf"
#: Seconds until the next server is asked, and rounds: who waits for an answer learns soon that there is none.
_OPTIONS = "options timeout:2 attempts:2"


def render_resolvers(addresses: Iterable[str]) -> str:
    """The file that makes a machine ask these servers, in this order."""
    return "\n".join((*(f"nameserver {address}" for address in addresses), _OPTIONS, ""))


def read_nameservers(file: Path = Path(RESOLV_CONF)) -> list[str]:
    """Addresses of servers as they are written there; none if there is no such file."""
    try:
        lines = [line.split() for line in file.read_text(errors="replace").splitlines()]
    except FileNotFoundError:
        return []
    return [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"]
