"""Settings: kept across runs, addresses derived from the two networks."""

from pathlib import Path

import msgspec
import pytest

from appliance.launcher.settings import Settings, address_at, netmask, read_settings, write_settings
from appliance.paths import Paths

pytestmark = pytest.mark.unit


def test_round_trip(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "home", tmp_path / "cache")
    paths.create()
    assert read_settings(paths) is None
    settings = Settings(uplink="eth7", api_port=9000)
    write_settings(paths, settings)
    assert read_settings(paths) == settings


def test_a_misspelt_key_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "pileus.json").write_text('{"aip_port": 9000}')
    with pytest.raises(msgspec.ValidationError, match="aip_port"):
        read_settings(Paths(tmp_path, tmp_path))


def test_the_host_takes_the_first_address_of_each_network() -> None:
    settings = Settings(management="10.7.0.0/16", public="192.0.2.0/25")
    assert (settings.management_address, settings.public_gateway) == ("10.7.0.1", "192.0.2.1")
    assert netmask(settings.public) == "255.255.255.128"
    assert str(address_at(settings.public, -1)) == "192.0.2.127"
    assert settings.api_url == "http://127.0.0.1:8080/client/api"
