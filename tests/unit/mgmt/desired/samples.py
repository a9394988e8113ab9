"""A network with one of everything."""

from mgmt.desired import inputs

ROUTER = "11111111-0000-4000-8000-000000000001"
VM = "22222222-0000-4000-8000-000000000001"


def rule_id(number: int) -> str:
    return f"33333333-0000-4000-8000-{number:012d}"


def full_network() -> inputs.RouterInput:
    return inputs.RouterInput(
        machine=inputs.Machine(id=ROUTER, name="r-4-VM", generation=7),
        links=(
            inputs.Link(mac="02:00:00:00:00:01", purpose="linklocal", address="169.254.1.0"),
            inputs.Link(mac="02:00:00:00:00:02", purpose="public"),
            inputs.Link(
                mac="02:00:00:00:00:03", purpose="guest", address="10.1.1.1", netmask="255.255.255.0"
            ),
        ),
        network=inputs.GuestNetwork(
            id="44444444-0000-4000-8000-000000000001",
            cidr="10.1.1.0/24",
            gateway="10.1.1.1",
            domain="cs1.internal",
            dns=("9.9.9.9", "149.112.112.112"),
        ),
        cloud_id="pileus",
        addresses=(
            inputs.PublicAddress(
                id=rule_id(1),
                address="172.31.241.12",
                netmask="255.255.255.0",
                gateway="172.31.241.1",
                vm_address="10.1.1.2",
            ),
            inputs.PublicAddress(
                id=rule_id(2),
                address="172.31.241.11",
                netmask="255.255.255.0",
                gateway="172.31.241.1",
                is_source_nat=True,
            ),
        ),
        guests=(guest(2), guest(3, name="db", is_default=False)),
        firewall=(
            inputs.Firewall(
                id=rule_id(3),
                public="172.31.241.11",
                protocol="tcp",
                cidrs=("198.51.100.0/24",),
                start_port=80,
                end_port=81,
            ),
            inputs.Firewall(id=rule_id(4), public="172.31.241.11", protocol="icmp", cidrs=(), icmp_type=8),
        ),
        egress=(
            inputs.Egress(id=rule_id(5), protocol="udp", cidrs=("10.1.1.0/24",), start_port=53),
            inputs.Egress(id=rule_id(6), protocol="all", cidrs=(), destinations=("203.0.113.0/24",)),
        ),
        forwards=(
            inputs.Forward(
                id=rule_id(7),
                public="172.31.241.11",
                protocol="tcp",
                public_start=8000,
                public_end=8001,
                private="10.1.1.2",
                private_start=80,
                private_end=81,
            ),
        ),
        balancers=(
            inputs.Balancer(
                id=rule_id(8),
                public="172.31.241.11",
                public_port=443,
                private_port=8443,
                algorithm="leastconn",
                members=((rule_id(9), "10.1.1.2"), (rule_id(10), "10.1.1.3")),
            ),
        ),
    )


def guest(number: int, *, name: str = "web", is_default: bool = True) -> inputs.Guest:
    return inputs.Guest(
        vm_id=f"22222222-0000-4000-8000-{number:012d}",
        hostname=name,
        mac=f"02:00:00:00:01:{number:02x}",
        address=f"10.1.1.{number}",
        is_default=is_default,
        offering="Tiny Instance",
        zone="zone1",
        instance_name=f"i-{number}-VM",
        cloud_domain="/",
        cloud_domain_id="55555555-0000-4000-8000-000000000001",
        public_keys=("ssh-ed25519 AAAA one", "ssh-ed25519 BBBB two"),
        user_data="IyEvYmluL3No",
        password_id=rule_id(100 + number),
        password="secret-word",
    )
