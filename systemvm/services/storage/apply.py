"""Mount the data disk, start what downloads and what serves."""

from systemvm.engine.service import Doors, Rendering
from systemvm.services.storage import data_disk
from systemvm.services.storage.render import TRANSFER
from systemvm.services.storage.settings import DATA, GROUP, HEARTBEAT, USER, Layout


def apply(new: Rendering, old: Rendering, doors: Doors) -> None:
    """See systemvm.engine.service. Raises ApplyFailed when there is no data disk."""
    if not new.daemons:
        return
    layout = Layout(doors.state_dir / DATA)
    data_disk.mount(layout.root, doors)
    for folder in (layout.templates, layout.partial, (doors.run_dir / HEARTBEAT).parent):
        folder.mkdir(parents=True, exist_ok=True)
    doors.run(("install", "-d", "-m", "0700", "-o", USER, "-g", GROUP, str(layout.uploads)))
    for daemon in new.daemons:
        if daemon == TRANSFER:
            doors.daemons.reload(daemon)
        else:
            doors.daemons.ensure(daemon)
