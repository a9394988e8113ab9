"""The launcher is a client like any other: it configures the cloud through its public API, with `cs`."""

import secrets
import time
from collections.abc import Callable
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import httpx
from cs import CloudStack

from appliance.launcher.settings import Settings
from appliance.launcher.steps import Progress, StepFailed
from appliance.paths import Paths
from systemvm.engine.files import write_atomic

#: Seconds that one API call may take; asynchronous commands answer at once.
CALL_TIMEOUT = 30
POLL_SECONDS = 0.5


def password_file(paths: Paths) -> Path:
    """Where the generated password of `admin` is."""
    return paths.home / "mgmt/admin-password"


def credentials_file(paths: Paths) -> Path:
    """API keys of `admin`, in the format of `cs`'s configuration."""
    return paths.home / "cloudstack.ini"


def ensure_credentials(paths: Paths, settings: Settings) -> None:
    """Log in as admin and create API keys, unless that has been done. Raises StepFailed."""
    file = credentials_file(paths)
    if file.exists():
        return
    password = password_file(paths).read_text().strip()
    with httpx.Client(timeout=CALL_TIMEOUT, trust_env=False) as http:
        login = _post(
            http, settings, {"command": "login", "username": "admin", "password": password, "domain": "/"}
        )
        session = {"sessionkey": login["sessionkey"]}
        keys = _post(http, settings, {"command": "registerUserKeys", "id": login["userid"], **session})[
            "userkeys"
        ]
    text = (
        "[cloudstack]\n"
        f"endpoint = {settings.api_url}\nkey = {keys['apikey']}\nsecret = {keys['secretkey']}\n"
        "timeout = 30\npoll_interval = 1\n"
    )
    write_atomic(file, text.encode(), mode=0o600)


def connect(paths: Paths, settings: Settings) -> CloudStack:
    """A client with admin's keys. Raises StepFailed when there are none yet."""
    file = credentials_file(paths)
    if not file.exists():
        raise StepFailed(f"{file} is missing", "run `pileus up`")
    parser = ConfigParser(interpolation=None)
    parser.read(file)
    section = parser["cloudstack"]
    return CloudStack(
        endpoint=settings.api_url,
        key=section["key"],
        secret=section["secret"],
        timeout=CALL_TIMEOUT,
        poll_interval=POLL_SECONDS,
        trace=False,
    )


def find(cloud: CloudStack, command: str, entity: str, **filters: Any) -> dict[str, Any] | None:
    """The one entity that a list command finds, None if there is none."""
    found = getattr(cloud, command)(**filters).get(entity, [])
    return found[0] if found else None


def find_or_create(
    cloud: CloudStack, listing: tuple[str, dict[str, Any]], create: tuple[str, dict[str, Any]], entity: str
) -> dict[str, Any]:
    """What `listing` finds, else what `create` makes; both are command and parameters."""
    existing = find(cloud, listing[0], entity, **listing[1])
    if existing is not None:
        return existing
    answer = getattr(cloud, create[0])(fetch_result=True, **create[1])
    made = answer.get(entity, answer)
    first: dict[str, Any] = made[0] if isinstance(made, list) else made
    return first


def wait_until(
    what: str, look: Callable[[], tuple[bool, str]], say: Progress, seconds: float, hint: str = ""
) -> None:
    """Poll `look` until it is true; its words are shown. Raises StepFailed with the last words."""
    until = time.monotonic() + seconds
    while True:
        done, words = look()
        if done:
            return
        say(words)
        if time.monotonic() > until:
            raise StepFailed(f"{what} took more than {seconds:.0f} s: {words}", hint)
        time.sleep(POLL_SECONDS)


def new_token() -> str:
    """An unguessable path component."""
    return secrets.token_urlsafe(24)


def _post(http: httpx.Client, settings: Settings, form: dict[str, str]) -> dict[str, Any]:
    answer = http.post(settings.api_url, data={**form, "response": "json"})
    body: dict[str, Any] = next(iter(answer.json().values()))
    if answer.status_code != 200:
        raise StepFailed(f"{form['command']}: {body.get('errortext', answer.status_code)}")
    return body
