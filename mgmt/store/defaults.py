"""What a fresh database gets: the ROOT domain, roles, the system and admin accounts, offerings.

Every row is added only if nothing of its name was ever there, so running it again adds nothing, and what
an operator deleted stays deleted.
"""

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mgmt.model.states import AccountType, VmKind
from mgmt.store.passwords import generate_password, hash_password
from mgmt.store.roles import add_default_roles
from mgmt.store.tables import Account, DiskOffering, Domain, NetworkOffering, Region, ServiceOffering, User

ROOT_PATH = "/"
SYSTEM = "system"
ADMIN = "admin"
GIB = 1024**3
ROUTER = "VirtualRouter"
ISOLATED_OFFERING = "DefaultIsolatedNetworkOfferingWithSourceNatService"

ISOLATED_SERVICES = {
    name: ROUTER
    for name in (
        "Dhcp",
        "Dns",
        "Firewall",
        "Lb",
        "PortForwarding",
        "SourceNat",
        "StaticNat",
        "UserData",
    )
}

SERVICE_OFFERINGS: tuple[dict[str, Any], ...] = (
    {"name": "Tiny Instance", "cpus": 1, "cpu_speed": 500, "memory": 128},
    {"name": "Small Instance", "cpus": 1, "cpu_speed": 500, "memory": 512},
    {"name": "Medium Instance", "cpus": 1, "cpu_speed": 1000, "memory": 1024},
    {"name": "Large Instance", "cpus": 2, "cpu_speed": 1000, "memory": 2048},
)

SYSTEM_OFFERINGS = {
    VmKind.router: ("System Offering For Software Router", "domainrouter"),
    VmKind.console: ("System Offering For Console Proxy", "consoleproxy"),
    VmKind.storage: ("System Offering For Secondary Storage VM", "secondarystoragevm"),
}
SYSTEM_MEMORY = 256

DISK_OFFERINGS: tuple[tuple[str, int], ...] = (("Small", 5 * GIB), ("Medium", 20 * GIB), ("Large", 100 * GIB))


def add_defaults(session: Session) -> str | None:
    """Add what is missing. Returns the generated password of `admin` if that user was just made.

    The caller hands it to the operator and keeps no copy; only its hash is stored.
    """
    root = _root_domain(session)
    add_default_roles(session)
    _region(session)
    _account(session, SYSTEM, root)
    admin, is_new = _account(session, ADMIN, root)
    _system_user(session)
    _service_offerings(session)
    _disk_offerings(session)
    _network_offerings(session)
    if not is_new:
        return None
    password = generate_password()
    user = User(account_id=admin.id, username=ADMIN, password=hash_password(password), firstname="Admin")
    session.add(user)
    return password


def _root_domain(session: Session) -> Domain:
    root = session.scalar(select(Domain).where(Domain.path == ROOT_PATH))
    if root is None:
        root = Domain(name="ROOT", path=ROOT_PATH)
        session.add(root)
        session.flush()
    return root


def _region(session: Session) -> None:
    """The region of this cloud; one that an operator renamed or replaced stays as it is."""
    if session.scalar(select(func.count(Region.id))) == 0:
        session.add(Region(id=1, name="Local", endpoint="http://localhost:8080/client/"))


def _account(session: Session, name: str, domain: Domain) -> tuple[Account, bool]:
    query = select(Account).where(Account.name == name, Account.domain_id == domain.id)
    account = session.scalars(query).first()
    if account is not None:
        return account, False
    account = Account(name=name, domain_id=domain.id, type=AccountType.root_admin)
    session.add(account)
    session.flush()
    return account, True


def _system_user(session: Session) -> None:
    """The user in whose name the system does things; its password is no hash, so nobody logs in with it."""
    account = session.scalars(select(Account).where(Account.name == SYSTEM)).one()
    if session.scalar(select(User.id).where(User.account_id == account.id)) is None:
        session.add(User(account_id=account.id, username=SYSTEM, password="!"))  # noqa: S106


def _service_offerings(session: Session) -> None:
    for values in SERVICE_OFFERINGS:
        text = f"{values['cpus']} vCPU, {values['memory']} MB"
        _add_missing(session, ServiceOffering(display_text=text, **values))
    for name, system_type in SYSTEM_OFFERINGS.values():
        offering = ServiceOffering(
            name=name,
            display_text=name,
            cpus=1,
            memory=SYSTEM_MEMORY,
            system_vm_type=system_type,
            default_use=True,
        )
        _add_missing(session, offering)


def _disk_offerings(session: Session) -> None:
    for name, size in DISK_OFFERINGS:
        _add_missing(
            session, DiskOffering(name=name, display_text=f"{name} disk, {size // GIB} GB", disk_bytes=size)
        )
    _add_missing(session, DiskOffering(name="Custom", display_text="Custom disk", customized=True))


def _network_offerings(session: Session) -> None:
    isolated = NetworkOffering(
        name=ISOLATED_OFFERING,
        display_text="Isolated network with source NAT, all services by the virtual router",
        services=dict(ISOLATED_SERVICES),
        availability="Required",
        is_default=True,
    )
    _add_missing(session, isolated)
    for traffic in ("Public", "Management", "Control", "Storage"):
        name = f"System-{traffic}-Network"
        _add_missing(session, NetworkOffering(name=name, display_text=name, traffic_type=traffic))


def _add_missing(session: Session, row: ServiceOffering | DiskOffering | NetworkOffering) -> None:
    if session.scalar(select(type(row).id).where(type(row).name == row.name)) is None:
        session.add(row)
