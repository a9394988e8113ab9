"""The first template's server: one file under one secret path, nothing else, and only as long as asked."""

from pathlib import Path

import httpx
import pytest

from appliance.launcher import seed

pytestmark = pytest.mark.contract


def get(url: str) -> httpx.Response:
    return httpx.get(url, trust_env=False)


def test_serves_the_one_file_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seed, "SEED_PORT", 0)
    file = tmp_path / "disk.qcow2"
    file.write_bytes(b"an image")
    (tmp_path / "secret").write_text("other")
    with seed.serve(file, "127.0.0.1") as url:
        assert get(url).content == b"an image"
        base = url.rsplit("/", 2)[0]
        for other in ("/", "/disk.qcow2", "/x/../disk.qcow2", url.removeprefix(base) + "/../secret"):
            assert get(base + other).status_code == 404
    with pytest.raises(httpx.ConnectError):
        get(url)
