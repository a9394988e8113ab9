"""Gives the node its identities: the management server's configuration, the CA, the host agent's certificate.

Everything below `<home>/mgmt` belongs to the unprivileged user of the management server; what the host
agent needs is copied below `<home>/host`, which is root's.
"""

import os
import pwd
from pathlib import Path

import msgspec

from appliance.launcher.settings import Settings
from appliance.paths import Paths
from mgmt.config import MgmtConfig, default_config, load_config, save_config
from mgmt.pki.authority import Authority
from systemvm.engine.files import write_atomic


def mgmt_folder(paths: Paths) -> Path:
    """What the management server owns."""
    return paths.home / "mgmt"


def ensure_identity(paths: Paths, settings: Settings) -> str:
    """Write what is missing or due. Raises OSError, msgspec.ValidationError naming the field."""
    folder = mgmt_folder(paths)
    folder.mkdir(mode=0o700, exist_ok=True)
    _write_config(paths, settings)
    authority = Authority(folder / "pki")
    own = authority.host_agent(settings.host, settings.management_address)
    write_atomic(paths.host / "server.pem", own.certificate.encode(), mode=0o600)
    write_atomic(paths.host / "server.key", own.key.encode(), mode=0o600)
    write_atomic(paths.host / "clients-ca.pem", authority.client_ca.encode())
    write_atomic(paths.home / "ca.pem", authority.server_ca.encode())
    _give(folder, settings.user)
    return f"certificates below {folder / 'pki'}; browsers may trust {paths.home / 'ca.pem'}"


def _write_config(paths: Paths, settings: Settings) -> None:
    before: MgmtConfig = (
        load_config(paths.home) if (mgmt_folder(paths) / "mgmt.json").exists() else default_config(paths.home)
    )
    after = msgspec.structs.replace(
        before,
        listen_address=settings.api_address,
        listen_port=settings.api_port,
        pki_dir=mgmt_folder(paths) / "pki",
    )
    if after != before:
        save_config(paths.home, after)


def become(user: str) -> None:
    """Go on as the management server's user, if this is root: files that it makes stay readable to it."""
    if os.geteuid() != 0:
        return
    entry = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def _give(folder: Path, user: str) -> None:
    entry = pwd.getpwnam(user)
    for item in (folder, *folder.rglob("*")):
        os.chown(item, entry.pw_uid, entry.pw_gid, follow_symlinks=False)
