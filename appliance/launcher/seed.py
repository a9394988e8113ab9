"""Gives the cloud its first template: a catalog image, registered like any tenant's, by URL.

The image is served by this very process, on the management address and under an unguessable path, only
until the storage VM has it. Nothing keeps listening, and the declared checksum vouches for the bytes.
"""

import functools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cs import CloudStack

from appliance.launcher.client import find, new_token, wait_until
from appliance.launcher.settings import Settings
from appliance.launcher.steps import Progress, StepFailed
from systemvm.spec.host import SEED_PORT

TEMPLATE = "tiny"
#: Seconds for download, check and inspection of the first template.
DEADLINE = 240


def ensure_template(cloud: CloudStack, settings: Settings, image: Path, say: Progress) -> dict[str, Any]:
    """The template made of the catalog image in folder `image`, ready. Raises StepFailed with the reason."""
    zone = find(cloud, "listZones", "zone", name=settings.zone)
    if zone is None:
        raise StepFailed(f"zone {settings.zone} does not exist", "run `pileus up` again")
    existing = _template(cloud)
    if existing is not None and existing["isready"]:
        return existing
    with serve(image / "disk.qcow2", settings.management_address) as url:
        # A template that never got ready points to a URL that is gone.
        if existing is not None:
            cloud.deleteTemplate(id=existing["id"], fetch_result=True)
        cloud.registerTemplate(
            name=TEMPLATE,
            displaytext="Pileus tiny guest",
            format="QCOW2",
            hypervisor="KVM",
            ostypeid=_os_type(cloud),
            url=url,
            checksum=f"sha256:{_sha256(image)}",
            zoneid=zone["id"],
            ispublic=True,
            isfeatured=True,
            passwordenabled=True,
        )
        wait_until("the download of the first template", lambda: _is_ready(cloud), say, DEADLINE)
    ready = _template(cloud)
    if ready is None:
        raise StepFailed("the template vanished while it was downloaded", "run `pileus up` again")
    return ready


@contextmanager
def serve(file: Path, address: str) -> Iterator[str]:
    """Serve one file over HTTP on `address` for as long as the context lasts; yields its URL."""
    path = f"/{new_token()}/{file.name}"
    server = ThreadingHTTPServer((address, SEED_PORT), functools.partial(_OneFile, file.resolve(), path))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{address}:{server.server_address[1]}{path}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _OneFile(SimpleHTTPRequestHandler):
    """Answers one path with one file, anything else with 404."""

    def __init__(self, file: Path, path: str, *arguments: Any, **options: Any) -> None:
        self._file, self._path = file, path
        super().__init__(*arguments, **options)

    def send_head(self) -> Any:
        """Refuse everything but the one path."""
        if self.path != self._path:
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        return super().send_head()

    def translate_path(self, path: str) -> str:
        """The one file."""
        return str(self._file)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Keep the terminal to the steps; the path is a secret."""


def _template(cloud: CloudStack) -> dict[str, Any] | None:
    return find(cloud, "listTemplates", "template", templatefilter="self", name=TEMPLATE)


def _is_ready(cloud: CloudStack) -> tuple[bool, str]:
    template = _template(cloud)
    if template is None:
        return False, "not listed yet"
    status = template.get("status", "")
    if "fail" in status.lower() or "error" in status.lower():
        raise StepFailed(
            f"template {TEMPLATE}: {status}", "the storage VM could not fetch it; see `pileus status`"
        )
    return bool(template["isready"]), status or "waiting"


def _os_type(cloud: CloudStack) -> str:
    kind = find(cloud, "listOsTypes", "ostype", description="Other Linux (64-bit)")
    if kind is None:
        raise StepFailed("the API lists no OS type 'Other Linux (64-bit)'")
    return str(kind["id"])


def _sha256(image: Path) -> str:
    manifest = json.loads((image / "manifest.json").read_text())
    return str(manifest["files"]["disk.qcow2"]["sha256"])
