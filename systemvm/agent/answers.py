"""Requests as typed structs, answers as JSON.

Every error has one shape: `{"code", "message", "problems": [{"path", "message"}]}`.
"""

from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec
from flask import Response, request

from systemvm.engine.errors import InvalidDocument
from systemvm.spec import codec
from systemvm.spec.types import Problem

T = TypeVar("T")

#: Largest answer, in bytes.
MAX_ANSWER = 32 * 1024**2


def answer(data: Any, status: int = 200) -> Response:
    """Structs, dataclasses and plain data as JSON."""
    body = msgspec.json.encode(data)
    if len(body) > MAX_ANSWER:
        return answer_error("too_large", f"the answer has {len(body)} bytes; ask for less", 500)
    return Response(body, status, mimetype="application/json")


def answer_error(code: str, message: str, status: int, problems: Iterable[Problem] = ()) -> Response:
    """An error: a stable code, a sentence, and what is wrong where."""
    return answer({"code": code, "message": message, "problems": list(problems)}, status)


def query(kind: type[T]) -> T:
    """The query of the request as a typed struct. Raises InvalidDocument for what it does not have."""
    try:
        return msgspec.convert(request.args.to_dict(), type=kind, strict=False)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$.")
        raise InvalidDocument([Problem(path=path.rstrip("`") or "query", message=message)]) from None


def body(kind: type[T]) -> T:
    """The JSON body of the request. Raises InvalidDocument with all its mistakes."""
    raw = request.get_data()
    if problems := codec.problems(raw, kind):
        raise InvalidDocument(problems)
    return codec.decode(raw, kind)
