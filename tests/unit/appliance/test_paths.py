"""Where everything lives, and which homes are too long for it."""

from pathlib import Path

import pytest

from appliance.paths import Paths

pytestmark = pytest.mark.unit


def test_home_and_cache_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PILEUS_HOME", raising=False)
    monkeypatch.setenv("PILEUS_CACHE", "/srv/cache")
    paths = Paths.from_environment()
    assert paths.home == Path("/var/lib/pileus")
    assert paths.images == Path("/srv/cache/images")


def test_a_home_too_long_for_unix_sockets_is_named() -> None:
    assert Paths(Path("/var/lib/pileus")).problem() == ""
    # 107 bytes for the path of a socket, of which 50 are `/run/vnc/<uuid>.sock`.
    assert Paths(Path("/" + "x" * 56)).problem() == ""
    assert "is 2 characters too long" in Paths(Path("/" + "x" * 58)).problem()


def test_folders_with_secrets_are_closed(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "h", tmp_path / "c")
    paths.create()
    paths.create()
    for folder in (paths.pki, paths.host, paths.vnc, paths.domains, paths.pools, paths.serial_logs):
        assert folder.stat().st_mode & 0o777 == 0o700, folder
    assert paths.images.is_dir()
