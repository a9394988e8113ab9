"""Items for projects: who makes them, and how others come in."""

from typing import Final

from mgmt.model.configuration.item import Item

USERS_MAKE_PROJECTS: Final = Item(
    name="allow.user.create.projects",
    default=True,
    category="Project Defaults",
    group="Projects",
    description="whether users may create projects; administrators always may",
)
INVITATION_REQUIRED: Final = Item(
    name="project.invite.required",
    default=False,
    category="Project Defaults",
    group="Projects",
    description="whether accounts and users must accept an invitation before they are members of a project",
)
INVITATION_SECONDS: Final = Item(
    name="project.invite.timeout",
    default=86400,
    category="Project Defaults",
    group="Projects",
    description="seconds until an invitation to a project expires",
    low=1,
)
PROJECT_ITEMS: Final = (USERS_MAKE_PROJECTS, INVITATION_REQUIRED, INVITATION_SECONDS)
