"""What the doctor finds."""

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Finding:
    """One contradiction: of which thing (`VM`, `volume`, …), what is wrong, what to do."""

    kind: str
    id: str
    name: str
    problem: str
    repair: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name} ({self.id}): {self.problem}"
