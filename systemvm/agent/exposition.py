"""Metrics in Prometheus' text format (exposition formats, version 0.0.4)."""

from collections.abc import Iterable, Iterator

from systemvm.agent.usage import LinkUsage
from systemvm.engine.outcome import Health

MIME_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_Sample = tuple[dict[str, str], float]


def render(health: Health, links: Iterable[LinkUsage], role: str) -> str:
    """All metrics of the agent as one text."""
    seen = list(links)
    lines = [
        *_metric(
            "pileus_healthy", "gauge", "1 if every probe is healthy.", [({"role": role}, health.healthy)]
        ),
        *_metric("pileus_generation", "gauge", "Applied generation, 0 if none.", [({}, health.applied or 0)]),
        *_metric(
            "pileus_probe_healthy",
            "gauge",
            "1 if this probe is healthy.",
            [({"service": probe.service, "name": probe.name}, probe.healthy) for probe in health.probes],
        ),
        *_metric(
            "pileus_probe_seconds",
            "gauge",
            "How long this probe took.",
            [({"service": probe.service, "name": probe.name}, probe.seconds) for probe in health.probes],
        ),
        *_metric(
            "pileus_link_received_bytes_total",
            "counter",
            "Bytes received on a link.",
            [({"link": link.name}, link.received_bytes) for link in seen],
        ),
        *_metric(
            "pileus_link_sent_bytes_total",
            "counter",
            "Bytes sent on a link.",
            [({"link": link.name}, link.sent_bytes) for link in seen],
        ),
    ]
    return "\n".join(lines) + "\n"


def _metric(name: str, kind: str, meaning: str, samples: Iterable[_Sample]) -> Iterator[str]:
    yield f"# HELP {name} {meaning}"
    yield f"# TYPE {name} {kind}"
    for labels, value in samples:
        shown = ",".join(f'{key}="{_escape(text)}"' for key, text in labels.items())
        yield f"{name}{{{shown}}} {float(value)!r}" if shown else f"{name} {float(value)!r}"


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
