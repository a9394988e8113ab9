"""What a guest may read about itself: the keys of cloud-init's CloudStack data source.

Keys: https://docs.cloudstack.apache.org/en/latest/adminguide/virtual_machines/user-data.html
"""

from collections.abc import Iterable

from mgmt.desired.inputs import Guest, RouterInput
from systemvm.spec.network import GuestMetadata, GuestPassword, Metadata


def compile_metadata(wanted: RouterInput, interface: str) -> Metadata:
    """Metadata of all guests; a guest behind static NAT reads its own public address."""
    own = {public.vm_address: public.address for public in wanted.addresses if public.vm_address}
    shared = next((public.address for public in wanted.addresses if public.is_source_nat), "")
    guests = (_guest(guest, own.get(guest.address, shared), wanted.cloud_id) for guest in wanted.guests)
    return Metadata(interfaces=(interface,), guests=tuple(guests))


def _guest(guest: Guest, public: str, cloud_id: str) -> GuestMetadata:
    password = None
    if guest.password and guest.password_id:
        password = GuestPassword(id=guest.password_id, value=guest.password)
    return GuestMetadata(
        address=guest.address,
        user_data=guest.user_data,
        # What the cloud says wins over a variable of the same name.
        meta_data={**guest.variables, **dict(_facts(guest, public, cloud_id))},
        password=password,
    )


def _facts(guest: Guest, public: str, cloud_id: str) -> Iterable[tuple[str, str]]:
    yield "service-offering", guest.offering
    yield "availability-zone", guest.zone
    yield "local-ipv4", guest.address
    yield "local-hostname", guest.hostname
    yield "public-ipv4", public
    yield "public-hostname", public
    yield "instance-id", guest.vm_id
    yield "vm-id", guest.vm_id
    yield "instance-name", guest.instance_name
    yield "public-keys", "\n".join(guest.public_keys)
    yield "cloud-identifier", f"CloudStack-{{{cloud_id}}}"
    yield "cloud-name", "pileus"
    yield "cloud-domain", guest.cloud_domain
    yield "cloud-domain-id", guest.cloud_domain_id
