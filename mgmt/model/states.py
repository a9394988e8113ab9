"""States of the cloud's entities, spelled as CloudStack's clients expect them."""

from enum import IntEnum, StrEnum


class AccountType(IntEnum):
    """Kind of account (CloudStack's `accounttype`). A `project` account owns a project's resources; it has
    no users, so nobody logs in as it. A `resource_admin` reaches what a user reaches: only its own."""

    user = 0
    root_admin = 1
    domain_admin = 2
    resource_admin = 3
    project = 5


class RoleType(StrEnum):
    """Kind of account that a role is for (CloudStack's `roletype`)."""

    admin = "Admin"
    domain_admin = "DomainAdmin"
    resource_admin = "ResourceAdmin"
    user = "User"

    @property
    def account_type(self) -> AccountType:
        """The kind of account."""
        return _ACCOUNT_TYPES[self]


_ACCOUNT_TYPES = {
    RoleType.admin: AccountType.root_admin,
    RoleType.domain_admin: AccountType.domain_admin,
    RoleType.resource_admin: AccountType.resource_admin,
    RoleType.user: AccountType.user,
}


class Allocation(StrEnum):
    """Whether a zone, pod, cluster takes new VMs."""

    enabled = "Enabled"
    disabled = "Disabled"


class VmState(StrEnum):
    """State of a VM, tenant's or system's."""

    starting = "Starting"
    running = "Running"
    stopping = "Stopping"
    migrating = "Migrating"
    stopped = "Stopped"
    destroyed = "Destroyed"
    expunging = "Expunging"
    error = "Error"


class VmSnapshotState(StrEnum):
    """State of a VM snapshot."""

    creating = "Creating"
    ready = "Ready"
    reverting = "Reverting"
    expunging = "Expunging"
    error = "Error"


class VmSnapshotKind(StrEnum):
    """What a VM snapshot keeps."""

    disk = "Disk"
    disk_and_memory = "DiskAndMemory"


class VmKind(StrEnum):
    """What a VM is; all but `user` are system VMs (CloudStack's names in answers: see `SYSTEM_VM_TYPES`)."""

    user = "user"
    router = "router"
    console = "console"
    storage = "storage"


SYSTEM_VM_TYPES = {VmKind.console: "consoleproxy", VmKind.storage: "secondarystoragevm"}


class DomainState(StrEnum):
    """State of a domain: nothing new comes into one that is being deleted."""

    active = "Active"
    inactive = "Inactive"


class NetworkState(StrEnum):
    """State of a guest network."""

    allocated = "Allocated"
    implementing = "Implementing"
    implemented = "Implemented"
    shutdown = "Shutdown"
    destroy = "Destroy"


class AddressState(StrEnum):
    """State of a public IP address."""

    free = "Free"
    allocated = "Allocated"
    releasing = "Releasing"


class VolumeState(StrEnum):
    """State of a volume: a row only (`Allocated`), or a file too (`Ready`).

    One that its owner brings is fetched (`UploadOp`), or to be sent (`NotUploaded`) and being judged
    (`UploadInProgress`); then the storage VM has it (`Uploaded`) until it is attached for the first time.
    """

    allocated = "Allocated"
    upload_op = "UploadOp"
    not_uploaded = "NotUploaded"
    uploading = "UploadInProgress"
    uploaded = "Uploaded"
    abandoned = "UploadAbandoned"
    creating = "Creating"
    ready = "Ready"
    migrating = "Migrating"
    destroy = "Destroy"
    error = "UploadError"


class SnapshotState(StrEnum):
    """State of a snapshot: a row only, being copied, being taken in by the storage VM, there."""

    allocated = "Allocated"
    creating = "Creating"
    backing_up = "BackingUp"
    backed_up = "BackedUp"
    destroyed = "Destroyed"
    error = "Error"


class ImageKind(StrEnum):
    """What VMs are made from: disk images, or CDs that they are installed from."""

    template = "template"
    iso = "iso"


class VolumeKind(StrEnum):
    """Root disk or data disk."""

    root = "ROOT"
    data = "DATADISK"


class TemplateState(StrEnum):
    """Download state of a template in a zone."""

    downloading = "Downloading"
    ready = "Ready"
    failed = "Failed"
    deleted = "Deleted"


class RuleState(StrEnum):
    """State of a firewall, forwarding or balancer rule."""

    add = "Add"
    active = "Active"
    revoke = "Revoke"


class JobStatus(IntEnum):
    """Status of an asynchronous job (CloudStack's `jobstatus`)."""

    pending = 0
    succeeded = 1
    failed = 2
    cancelled = 3
