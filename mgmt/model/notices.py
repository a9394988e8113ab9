"""Numbers and names that CloudStack gives to kinds of capacity and of alerts."""

from enum import IntEnum


class CapacityType(IntEnum):
    """Kind of capacity (`type` in listCapacity). Memory and storage in bytes, CPU in MHz."""

    memory = 0
    cpu = 1
    storage = 2
    storage_allocated = 3
    public_address = 4
    private_address = 5
    secondary_storage = 6
    vlan = 7
    cpu_core = 90


CAPACITY_NAMES = {
    CapacityType.memory: "MEMORY",
    CapacityType.cpu: "CPU",
    CapacityType.storage: "STORAGE",
    CapacityType.storage_allocated: "STORAGE_ALLOCATED",
    CapacityType.public_address: "VIRTUAL_NETWORK_PUBLIC_IP",
    CapacityType.private_address: "PRIVATE_IP",
    CapacityType.secondary_storage: "SECONDARY_STORAGE",
    CapacityType.vlan: "VLAN",
    CapacityType.cpu_core: "CPU_CORE",
}


class AlertType(IntEnum):
    """Kind of alert."""

    memory = 0
    cpu = 1
    storage = 2
    storage_allocated = 3
    public_address = 4
    secondary_storage = 6
    host = 7
    router = 9
    console_proxy = 10
    storage_vm = 19
    management_server = 14
    template = 28
    certificate = 31


ALERT_NAMES = {
    AlertType.memory: "ALERT.MEMORY",
    AlertType.cpu: "ALERT.CPU",
    AlertType.storage: "ALERT.STORAGE",
    AlertType.storage_allocated: "ALERT.STORAGE.ALLOCATED",
    AlertType.public_address: "ALERT.NETWORK.PUBLICIP",
    AlertType.secondary_storage: "ALERT.STORAGE.SECONDARY",
    AlertType.host: "ALERT.COMPUTE.HOST",
    AlertType.router: "ALERT.SERVICE.DOMAINROUTER",
    AlertType.console_proxy: "ALERT.SERVICE.CONSOLEPROXY",
    AlertType.storage_vm: "ALERT.SERVICE.SSVM",
    AlertType.management_server: "ALERT.MANAGEMENT",
    AlertType.template: "ALERT.UPLOAD.FAILED",
    AlertType.certificate: "ALERT.CA.CERT",
}
