"""Items for how many snapshots a policy may keep."""

from typing import Final

from mgmt.model.configuration.item import Item

SNAPSHOT_MOST: Final = {
    interval: Item(
        name=f"snapshot.max.{interval}",
        default=8,
        category="Advanced",
        group="Snapshots",
        description=f"how many {interval} snapshots of a volume a policy may keep",
        low=1,
    )
    for interval in ("hourly", "daily", "weekly", "monthly")
}
"""By the name of the interval; CloudStack's names and defaults."""
