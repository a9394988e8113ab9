"""CloudMonkey 5, unmodified under Python 2.7: it logs in, learns the commands, and lives a tenant's day.

Where there is no Python 2.7, what it relies on is still tested: its signature in `test_signature.py`, its
log-in in `test_sessions.py`, what it reads of `listApis` in `test_registry.py`.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.mgmt_server import ManagementServer, build_zone, eventually, ready_template, run_server

pytestmark = pytest.mark.contract

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
VERSION = "5.3.3.1"
SETTINGS = """
[core]
asyncblock = true
paramcompletion = true
cache_file = {home}/cache
history_file = {home}/history
log_file = {home}/log
profile = cloud

[ui]
color = false
prompt = >
display = json

[cloud]
url = {url}
timeout = 120
expires = 600
username = admin
password = {password}
domain = /
apikey = {key}
secretkey = {secret}
verifysslcert = true
signatureversion = 3
"""


def find_python() -> str | None:
    """A Python 2.7 that starts: what pyenv puts on the path may be a script that only says it does not."""
    places = [shutil.which("python2.7"), *sorted(Path.home().glob(".pyenv/versions/2.7.*/bin/python2.7"))]
    for place in places:
        if place and subprocess.run([place, "-c", ""], capture_output=True, check=False).returncode == 0:
            return str(place)
    return None


class NotHere(Exception):
    """CloudMonkey cannot run here; why."""


def install(folder: Path) -> str:
    """Put CloudMonkey's packages into a folder; the Python 2.7 that runs them. Raises NotHere."""
    found = find_python()
    if found is None:
        raise NotHere("there is no Python 2.7 here, and CloudMonkey 5 runs on nothing else")
    pip = [found, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--target", str(folder)]
    done = subprocess.run([*pip, f"cloudmonkey=={VERSION}"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotHere(f"CloudMonkey {VERSION} cannot be installed here: {done.stderr[-300:]}")
    return found


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Python 2.7 and a folder with CloudMonkey's packages."""
    folder = tmp_path_factory.mktemp("packages")
    try:
        return install(folder), folder
    except NotHere as reason:
        pytest.skip(str(reason))


@dataclass
class Monkey:
    """CloudMonkey with a configuration of its own."""

    python: str
    packages: Path
    home: Path

    def configure(self, url: str, password: str, key: str = "", secret: str = "") -> None:
        """Let it sign with keys, or log in without."""
        place = {"home": self.home, "url": url, "password": password}
        (self.home / "config").write_text(SETTINGS.format(**place, key=key, secret=secret))

    def say(self, *words: str) -> tuple[int, str]:
        """How a command ends, and what it prints."""
        done = subprocess.run(
            [self.python, "-W", "ignore", str(self.packages / "bin/cloudmonkey"), "-c", "config", *words],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.home),
                "LANG": "C.UTF-8",
                "PYTHONPATH": str(self.packages),
            },
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        return done.returncode, COLOUR.sub("", done.stdout + done.stderr)

    def __call__(self, *words: str) -> Any:
        """The JSON of a command that ends well."""
        code, text = self.say(*words)
        assert code == 0, text
        start = text.find("{")
        return json.loads(text[start:]) if start >= 0 else {}


@pytest.fixture(scope="module")
def server(python: tuple[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ManagementServer]:
    with run_server(tmp_path_factory.mktemp("cloud")) as running:
        api = running.client()
        zone = build_zone(api)
        eventually(lambda: {vm["state"] for vm in api.listSystemVms().get("systemvm", [])} == {"Running"})
        ready_template(api, zone)
        yield running


@pytest.fixture(params=["session", "keys"])
def monkey(
    request: pytest.FixtureRequest, server: ManagementServer, python: tuple[str, Path], tmp_path: Path
) -> Monkey:
    made = Monkey(*python, tmp_path)
    keys = server.keys() if request.param == "keys" else ()
    made.configure(server.endpoint, server.password, *keys)
    code, text = made.say("sync")
    assert code == 0, text
    assert "APIs discovered and cached" in text
    return made


def test_a_tenants_day(monkey: Monkey) -> None:
    (zone,) = monkey("list", "zones", "filter=id,name")["zone"]
    assert set(zone) == {"id", "name"}
    offering = monkey("list", "networkofferings", "name=DefaultIsolatedNetworkOfferingWithSourceNatService")
    place = f"zoneid={zone['id']}"
    network = monkey(
        "create", "network", "name=net", "displaytext=a net", place,
        f"networkofferingid={offering['networkoffering'][0]['id']}",
    )["network"]  # fmt: skip
    assert network["displaytext"] == "a net"
    template = monkey("list", "templates", "templatefilter=self")["template"][0]["id"]
    size = monkey("list", "serviceofferings", "name=Tiny Instance")["serviceoffering"][0]["id"]
    made = monkey(
        "deploy", "virtualmachine", "name=web", place, f"templateid={template}", f"serviceofferingid={size}",
        f"networkids={network['id']}",
    )["jobresult"]["virtualmachine"]  # fmt: skip
    assert made["state"] == "Running"
    tagged = monkey(
        "create", "tags", f"resourceids={made['id']}", "resourcetype=UserVm", "tags[0].key=a",
        "tags[0].value=*~[x] é",
    )  # fmt: skip
    assert tagged["jobresult"] == {"success": True}
    (shown,) = monkey("list", "virtualmachines", "tags[0].key=a", "tags[0].value=*~[x] é")["virtualmachine"]
    assert shown["id"] == made["id"]
    stopped = monkey("stop", "virtualmachine", f"id={made['id']}")["jobresult"]["virtualmachine"]
    assert stopped["state"] == "Stopped"
    gone = monkey("destroy", "virtualmachine", f"id={made['id']}", "expunge=true")
    assert gone["jobstatus"] == 1
    assert monkey("list", "virtualmachines") == {}
    assert monkey("delete", "network", f"id={network['id']}")["jobresult"] == {"success": True}


def test_what_is_refused_is_said(monkey: Monkey) -> None:
    nobody = "id=00000000-1111-2222-3333-444444444444"
    _, text = monkey.say("list", "virtualmachines", nobody)
    assert "431" in text
    assert "entity does not exist" in text
    assert "Missing arguments: zoneid networkofferingid" in monkey.say("create", "network", "name=x")[1]


def test_a_wrong_password_is_told(server: ManagementServer, python: tuple[str, Path], tmp_path: Path) -> None:
    monkey = Monkey(*python, tmp_path)
    monkey.configure(server.endpoint, "wrong")
    assert "Error authenticating" in monkey.say("sync")[1]
