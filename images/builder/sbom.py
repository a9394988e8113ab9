"""Software bill of materials, CycloneDX and SPDX: Debian's part by debsbom, our Python packages added.

Every value that debsbom would draw (serial number, name space, time) is given, so equal trees give equal
documents.
"""

import json
import sys
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from images.builder.errors import BuildError
from images.builder.manifest import Package
from images.builder.recipe import Recipe
from systemvm.engine.command import run
from systemvm.engine.errors import CommandError

CYCLONEDX, SPDX = "sbom.cdx.json", "sbom.spdx.json"
_TIMEOUT = 300.0


def write_sboms(recipe: Recipe, input_hash: str, tree: Path, packages: Iterable[Package], out: Path) -> None:
    """Write both documents into the folder `out`. Raises BuildError with debsbom's words."""
    serial = str(uuid.uuid5(uuid.UUID(recipe.disk.disk_guid), input_hash))
    moment = datetime.fromtimestamp(recipe.epoch, UTC).isoformat()
    argv = (
        *("env", "PYTHONHASHSEED=0", str(Path(sys.executable).parent / "debsbom"), "generate"),
        *("--root", str(tree), "-t", "cdx", "-t", "spdx", "--out", str(out / "sbom")),
        *("--timestamp", moment, "--cdx-serialnumber", serial, "--distro-arch", "amd64"),
        *("--spdx-namespace", f"urn:uuid:{serial}", "--distro-name", recipe.name),
        *("--distro-version", input_hash, "--distro-summary", recipe.summary),
    )
    try:
        run(argv, timeout=_TIMEOUT)
    except CommandError as error:
        raise BuildError("SBOM", str(error)) from None
    python = [package for package in packages if package.kind == "python"]
    _rewrite(out / CYCLONEDX, _add_to_cyclonedx, python)
    _rewrite(out / SPDX, _add_to_spdx, python)


def _rewrite(path: Path, add: Any, packages: list[Package]) -> None:
    document = json.loads(path.read_text())
    add(document, packages)
    path.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")


def _purl(package: Package) -> str:
    # https://github.com/package-url/purl-spec, type pypi: lower case, dashes.
    return f"pkg:pypi/{package.name.lower().replace('_', '-')}@{package.version}"


def _add_to_cyclonedx(document: dict[str, Any], packages: list[Package]) -> None:
    root = document["metadata"]["component"]["bom-ref"]
    for package in packages:
        purl = _purl(package)
        document["components"].append(
            {
                "bom-ref": purl,
                "name": package.name,
                "purl": purl,
                "type": "library",
                "version": package.version,
            }
        )
    dependency = next(entry for entry in document["dependencies"] if entry["ref"] == root)
    dependency["dependsOn"] = sorted({*dependency.get("dependsOn", ()), *map(_purl, packages)})
    document["components"].sort(key=lambda component: component["bom-ref"])


def _add_to_spdx(document: dict[str, Any], packages: list[Package]) -> None:
    root = next(
        entry["relatedSpdxElement"]
        for entry in document["relationships"]
        if entry["spdxElementId"] == "SPDXRef-DOCUMENT" and entry["relationshipType"] == "DESCRIBES"
    )
    for package in packages:
        identifier = f"SPDXRef-python-{package.name.replace('_', '-')}"
        document["packages"].append(
            {
                "SPDXID": identifier,
                "copyrightText": "NOASSERTION",
                "downloadLocation": "NOASSERTION",
                "externalRefs": [
                    {
                        "referenceCategory": "PACKAGE_MANAGER",
                        "referenceLocator": _purl(package),
                        "referenceType": "purl",
                    }
                ],
                "filesAnalyzed": False,
                "licenseConcluded": "NOASSERTION",
                "licenseDeclared": "NOASSERTION",
                "name": package.name,
                "supplier": "NOASSERTION",
                "versionInfo": package.version,
            }
        )
        relation = {"spdxElementId": identifier, "relatedSpdxElement": root, "relationshipType": "PACKAGE_OF"}
        document["relationships"].append(relation)
    document["packages"].sort(key=lambda entry: entry["SPDXID"])
    document["relationships"].sort(key=lambda entry: json.dumps(entry, sort_keys=True))
