"""What projects, their members and invitations may be, spelled as CloudStack's clients expect it."""

from enum import StrEnum


class ProjectState(StrEnum):
    """State of a project; a suspended one can be looked at, not changed."""

    active = "Active"
    suspended = "Suspended"


class MemberRole(StrEnum):
    """What a member is: administrators also change the project, its members and their roles."""

    admin = "Admin"
    regular = "Regular"


class InvitationState(StrEnum):
    """State of an invitation."""

    pending = "Pending"
    completed = "Completed"
    expired = "Expired"
    declined = "Declined"
