"""Start the server; a running one reads its new file by itself."""

import shutil

from systemvm.engine.service import Doors, Rendering
from systemvm.engine.swap import under
from systemvm.services.metadata.settings import DATABASE, GROUP, STATE_FOLDER, USER


def apply(new: Rendering, old: Rendering, doors: Doors) -> None:
    """Raises CommandError when the server does not start, LookupError when its user does not exist."""
    if not new.daemons:
        return
    folder = under(doors.root, STATE_FOLDER)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    shutil.chown(folder, USER, GROUP)
    if new.kernel != old.kernel and under(doors.root, DATABASE).exists():
        # Here, because the server imports this package too, and most servers never need a database.
        from systemvm.services.metadata.passwords import TakenPasswords

        passwords = TakenPasswords(under(doors.root, DATABASE))
        passwords.forget_others(set(new.kernel))
        passwords.close()
    doors.daemons.ensure(new.daemons[0])
