"""Configuration of the management server: `<home>/mgmt/mgmt.json`, one typed document."""

from pathlib import Path
from typing import Literal

import msgspec

FILE = Path("mgmt") / "mgmt.json"


class MgmtConfig(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What the management server must know before it can open its database.

    `public_url` is where clients reach the API from outside, if that is not the listening address;
    `trusted_proxies` is the number of proxies in front whose X-Forwarded-* headers count. `strict_post`
    refuses every change by GET under a session, also from clients that are no browsers (see
    `mgmt.api.sessions`). `simulated_hosts` allows hosts that are made of nothing, and faults on them.
    `log_level` DEBUG says more; secrets are in no log.
    """

    listen_address: str = "127.0.0.1"
    listen_port: int = 8080
    database_url: str
    key_file: Path
    pki_dir: Path
    public_url: str | None = None
    threads: int = 16
    trusted_proxies: int = 0
    strict_post: bool = False
    simulated_hosts: bool = False
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    version: str = "4.22.0.0"


def default_config(home: Path) -> MgmtConfig:
    """The configuration of a fresh installation under `home`."""
    base = home / "mgmt"
    return MgmtConfig(
        database_url=f"sqlite:///{base / 'mgmt.db'}", key_file=base / "seal.key", pki_dir=base / "pki"
    )


def load_config(home: Path) -> MgmtConfig:
    """Read the configuration below `home`; the defaults, if there is no file.

    Raises `msgspec.ValidationError` naming the wrong field.
    """
    path = home / FILE
    if not path.exists():
        return default_config(home)
    return msgspec.json.decode(path.read_bytes(), type=MgmtConfig, dec_hook=lambda kind, value: kind(value))


def save_config(home: Path, config: MgmtConfig) -> None:
    """Write the configuration below `home`, readable."""
    path = home / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(config, enc_hook=str)) + b"\n")
