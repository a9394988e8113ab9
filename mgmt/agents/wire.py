"""One HTTP request to an agent, as bytes out and typed answer or typed error back."""

from collections.abc import Mapping
from typing import Any, TypeVar

import httpx
import msgspec

from mgmt.agents.errors import AgentFailed, AgentUnreachable, of_status
from systemvm.spec.types import Problem

T = TypeVar("T")

#: Seconds to connect, tunnel and TLS included.
CONNECT_SECONDS = 10.0


class _Refusal(msgspec.Struct):
    """Body of an agent's error answer."""

    message: str
    code: str = ""
    problems: tuple[Problem, ...] = ()


class Wire:
    """Requests to the agent `where` (for messages) over `client`."""

    def __init__(self, where: str, client: httpx.Client) -> None:
        self._where = where
        self._client = client

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        seconds: float = 30.0,
        also: tuple[int, ...] = (),
        query: Mapping[str, str] | None = None,
    ) -> bytes:
        """The answer's body. Raises AgentError for statuses from 400 on, except those in `also`.

        `seconds` bounds the wait for the answer.
        """
        content = None if body is None else msgspec.json.encode(body)
        timeout = httpx.Timeout(seconds, connect=CONNECT_SECONDS)
        headers = {"content-type": "application/json"} if content is not None else {}
        try:
            answer = self._client.request(
                method, path, content=content, params=query or {}, timeout=timeout, headers=headers
            )
        except httpx.HTTPError as error:
            words = str(error) or type(error).__name__
            raise AgentUnreachable(self._where, f"no answer to {method} {path}: {words}") from error
        if answer.status_code >= 400 and answer.status_code not in also:
            raise self._refusal(method, path, answer)
        return answer.content

    def ask(
        self,
        method: str,
        path: str,
        kind: type[T],
        *,
        body: Any = None,
        seconds: float = 30.0,
        also: tuple[int, ...] = (),
        query: Mapping[str, str] | None = None,
    ) -> T:
        """The answer as `kind`; else as `request`."""
        raw = self.request(method, path, body=body, seconds=seconds, also=also, query=query)
        try:
            return msgspec.json.decode(raw, type=kind)
        except msgspec.MsgspecError as error:
            raise AgentFailed(self._where, f"{method} {path} answered something else: {error}") from error

    def peer_certificate(self) -> dict[str, Any]:
        """The server's certificate as `ssl.getpeercert()` has it, by a question whose answer does not matter.

        Raises AgentUnreachable.
        """
        timeout = httpx.Timeout(30.0, connect=CONNECT_SECONDS)
        try:
            with self._client.stream("GET", "/", timeout=timeout) as answer:
                connection = answer.extensions["network_stream"].get_extra_info("ssl_object")
                return dict(connection.getpeercert())
        except httpx.HTTPError as error:
            words = str(error) or type(error).__name__
            raise AgentUnreachable(self._where, f"no answer to GET /: {words}") from error

    def _refusal(self, method: str, path: str, answer: httpx.Response) -> Exception:
        error = of_status(answer.status_code)
        try:
            refusal = msgspec.json.decode(answer.content, type=_Refusal)
        except msgspec.MsgspecError:
            return error(self._where, f"{method} {path}: HTTP {answer.status_code}")
        return error(self._where, refusal.message, refusal.problems)
