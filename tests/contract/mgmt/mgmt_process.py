"""A management server's jobs in a process of their own, which a test may kill: FOLDER JOB_ID [HOST_SERVER].

Resumes what was cut, starts the job unless that is done, and ends when it has ended.
"""

import sys
import time
from pathlib import Path

from mgmt.agents.tls import Credentials
from mgmt.drivers.kvm import KvmDriver
from mgmt.jobs.durable import DurableJobs
from mgmt.model.states import JobStatus
from mgmt.ops.runtime import Runtime
from mgmt.pki.authority import Authority
from mgmt.store.database import Database
from mgmt.store.sealing import Seal
from mgmt.store.tables import Job


def main(folder: Path, job_id: str) -> None:
    """Run until the job is over."""
    authority = Authority(folder / "pki")
    runtime = Runtime(
        database=Database(f"sqlite:///{folder / 'mgmt.db'}"),
        seal=Seal(b"k" * 32),
        authority=authority,
        drivers={"kvm": KvmDriver(Credentials(authority.server_ca, authority.management_file))},
    )
    jobs = DurableJobs(runtime, f"sqlite:///{folder / 'jobs.db'}")
    jobs.launch()
    while True:
        with runtime.database.reading() as session:
            if session.get_one(Job, job_id).status != JobStatus.pending:
                break
        time.sleep(0.1)
    jobs.close(seconds=5)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
