"""The commands of a document: what stands in its `sh` blocks, comments stripped."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def commands_of(document: str) -> list[str]:
    """Lines to run, in order, of a file in the repository."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]
