"""One call from a terminal: find the cloud, send the command, follow its job."""

import os
import time
from collections.abc import Callable, Iterable
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import requests
from cs import CloudStack, CloudStackApiException, CloudStackException
from cs.client import read_config

CALL_SECONDS = 30
POLL_SECONDS = 0.5
SUCCEEDED, FAILED = 1, 2
UNKNOWN = 401
Words = Callable[[str], None]


class CallFailed(Exception):
    """What the server, or the way to it, answered instead; the text is for the user."""


def connect(credentials: Path) -> CloudStack:
    """A client for the cloud that `CLOUDSTACK_…` names, else for the one that the file `credentials` is of.

    Raises CallFailed.
    """
    try:
        if any(name.startswith("CLOUDSTACK_") for name in os.environ):
            config = {key: value for key, value in read_config().items() if key != "poll_interval"}
            return CloudStack(**{"timeout": CALL_SECONDS, **config, "fetch_result": False})
        parser = ConfigParser(interpolation=None)
        if not parser.read(credentials):
            text = (
                f"{credentials} is not here to be read: run `pileus up`, or set CLOUDSTACK_CONFIG to a file"
            )
            raise CallFailed(f"{text} with endpoint, key and secret")
        section = parser["cloudstack"]
        return CloudStack(section["endpoint"], section["key"], section["secret"], timeout=CALL_SECONDS)
    except (KeyError, ValueError, SystemExit) as error:
        raise CallFailed(f"the configuration of the client is incomplete: {error}") from error


def parse_parameters(words: Iterable[str]) -> dict[str, str]:
    """`key=value` words as parameters; a value may hold `=`. Raises CallFailed."""
    parameters = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise CallFailed(f"{word!r} is no parameter: write name=value, quoted as one word")
        parameters[name] = value
    return parameters


def call(cloud: CloudStack, command: str, parameters: dict[str, str]) -> dict[str, Any]:
    """The answer to one call. Raises CallFailed."""
    if not command.isalnum() or command in vars(cloud):
        raise CallFailed(f"{command!r} is no command; `pileus api listApis` shows those there are")
    try:
        answer: dict[str, Any] = getattr(cloud, command)(**parameters)
    except CloudStackApiException as error:
        body = error.error if isinstance(error.error, dict) else {}
        # With an API key the protocol answers 401 for a wrong key and for a command that is not there alike.
        text = f"{body.get('errortext', error)} ({body.get('errorcode', 'no code')})"
        if body.get("errorcode") == UNKNOWN and "does not exist" not in text:
            text = f"{text}; is this key of this cloud, and is there a command {command} for it?"
        raise CallFailed(text) from error
    except (CloudStackException, requests.RequestException) as error:
        raise CallFailed(f"{cloud.endpoint} does not answer as it should: {error}") from error
    return answer


def follow(cloud: CloudStack, job_id: str, say: Words) -> dict[str, Any]:
    """The result of a job; `say` gets what it does now. Raises CallFailed with the step that failed."""
    while True:
        job = call(cloud, "queryAsyncJobResult", {"jobid": job_id})
        if job["jobstatus"] == SUCCEEDED:
            result: dict[str, Any] = job.get("jobresult", {})
            return result
        if job["jobstatus"] >= FAILED:
            reason = job.get("jobresult", {})
            raise CallFailed(f"{reason.get('errortext', 'the job failed')} ({job.get('jobresultcode')})")
        say(job.get("jobstep") or "waits for its turn")
        time.sleep(POLL_SECONDS)
