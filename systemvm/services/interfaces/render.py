"""What the kernel should be, and whom the machine asks for names."""

from systemvm.engine.resolvers import RESOLV_CONF, render_resolvers
from systemvm.engine.service import File, Rendering
from systemvm.services.interfaces.model import Wanted
from systemvm.spec.network import Nic
from systemvm.spec.state import State
from systemvm.spec.types import Purpose


def render(state: State) -> Rendering:
    """Links, addresses, routes and kernel settings, as comparable data; resolv.conf if it has resolvers."""
    section = state.interfaces
    # The name in this machine's log lines (hostname(7)); one image serves all, so it comes from here.
    sysctls = [("kernel/hostname", state.hostname)]
    sysctls.append(("net/ipv4/ip_forward", "1" if section.forwarding else "0"))
    # The highest of `all` and the NIC's own value counts (ip-sysctl): `all` must not decide.
    sysctls.append(("net/ipv4/conf/all/rp_filter", "0"))
    for nic in section.nics:
        sysctls.extend(_nic_sysctls(nic))
    files = (File(RESOLV_CONF, render_resolvers(section.resolvers)),) if section.resolvers else ()
    kernel = Wanted(nics=section.nics, routes=section.routes, sysctls=tuple(sysctls))
    return Rendering(files=files, kernel=kernel)


def _nic_sysctls(nic: Nic) -> list[tuple[str, str]]:
    ipv4 = f"net/ipv4/conf/{nic.name}"
    # Guests must not send from foreign addresses (RFC 3704 strict mode). Elsewhere answers may leave
    # through another NIC than questions came by: loose mode.
    rp_filter = "1" if nic.purpose is Purpose.guest else "2"
    return [
        (f"{ipv4}/rp_filter", rp_filter),
        # Answer and announce only addresses of the NIC itself: networks must not learn of each other.
        (f"{ipv4}/arp_ignore", "1"),
        (f"{ipv4}/arp_announce", "2"),
        (f"{ipv4}/accept_redirects", "0"),
        (f"{ipv4}/send_redirects", "0"),
        (f"{ipv4}/accept_source_route", "0"),
        # Deleting a network's first address must not take the others with it.
        (f"{ipv4}/promote_secondaries", "1"),
        # Documents are IPv4 only; no address may come from a neighbour's router advertisement.
        (f"net/ipv6/conf/{nic.name}/disable_ipv6", "1"),
    ]
