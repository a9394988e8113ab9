"""What is counted where it happens: calls, jobs, rounds of the reconcile loop."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

MEASURED = CollectorRegistry()

CALLS = Counter(
    "pileus_api_calls", "Answered calls, by command and HTTP status", ("command", "status"), registry=MEASURED
)
CALL_SECONDS = Histogram(
    "pileus_api_call_seconds",
    "How long calls took to answer",
    ("command",),
    buckets=(0.005, 0.02, 0.05, 0.1, 0.3, 1, 3, 10),
    registry=MEASURED,
)
JOBS = Counter(
    "pileus_jobs_finished", "Finished jobs, by workflow and result", ("workflow", "result"), registry=MEASURED
)
JOB_SECONDS = Histogram(
    "pileus_job_seconds",
    "From when a job was asked for to its end",
    ("workflow",),
    buckets=(1, 3, 10, 30, 60, 120, 300, 900, 3600),
    registry=MEASURED,
)
ROUND_SECONDS = Histogram(
    "pileus_reconcile_round_seconds",
    "How long a round of the reconcile loop took",
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60),
    registry=MEASURED,
)
FAILED_ROUNDS = Counter(
    "pileus_reconcile_failed_rounds", "Rounds of the reconcile loop that failed", registry=MEASURED
)
LAST_ROUND = Gauge(
    "pileus_reconcile_last_round_timestamp_seconds", "When the last good round ended", registry=MEASURED
)

UNKNOWN = "unknown"
"""The label of calls of commands that are not in the registry: their names are the callers'."""
