"""Export the JSON Schemas of the documents: `python -m systemvm.spec [FOLDER]`; without one, to stdout."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from systemvm.spec import codec
from systemvm.spec.bootstrap import Bootstrap
from systemvm.spec.certificate import SignedCertificate
from systemvm.spec.host import Domain, HostState
from systemvm.spec.state import State

#: File name (without `.json`) of each exported document.
DOCUMENTS: dict[str, type[Any]] = {
    "state": State,
    "host-state": HostState,
    "domain": Domain,
    "bootstrap": Bootstrap,
    "certificate": SignedCertificate,
}


def schemas() -> dict[str, str]:
    """File name to JSON Schema text, one file per document."""
    return {
        f"{name}.json": json.dumps(codec.schema(kind), indent=2) + "\n" for name, kind in DOCUMENTS.items()
    }


def main(arguments: list[str]) -> None:
    """Write the schemas into the folder that the arguments name, or print them."""
    parser = argparse.ArgumentParser(prog="python -m systemvm.spec", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path)
    folder = parser.parse_args(arguments).folder
    for name, text in schemas().items():
        if folder is None:
            sys.stdout.write(text)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)


if __name__ == "__main__":
    main(sys.argv[1:])
