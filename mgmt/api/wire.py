"""The wire: parameters of a request, envelopes in JSON or XML, errors."""

import logging
from collections.abc import Mapping
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

import msgspec
from flask import Request, Response
from sqlalchemy.exc import IntegrityError
from werkzeug.exceptions import RequestEntityTooLarge

from mgmt.model.errors import BadRequest, CloudError, InUse

LOG = logging.getLogger("mgmt.api")
FORM_TYPES = ("", "application/x-www-form-urlencoded", "multipart/form-data")
JSON_TYPE = "application/json; charset=UTF-8"
XML_TYPE = "text/xml; charset=UTF-8"
MOST_PARAMETERS = 1000


def read_pairs(request: Request, command: str | None = None) -> dict[str, str]:
    """All parameters of a request, from the query and the form together. Raises `BadRequest`.

    `command` is the one named by the path, which stands for a parameter that is not there.
    """
    if request.mimetype not in FORM_TYPES:
        raise BadRequest(f"Content type {request.mimetype} is not understood; send a form or a query string")
    pairs: dict[str, str] = {}
    try:
        sources = (request.args, request.form)
    except RequestEntityTooLarge as error:
        raise BadRequest("The request is too long; send less, user data up to 1 MiB") from error
    for source in sources:
        for name, values in source.lists():
            if len({*values, pairs.get(name, values[0])}) > 1:
                raise BadRequest(f"Parameter {name} was sent with different values; send it once")
            pairs[name] = values[0]
    if len(pairs) > MOST_PARAMETERS:
        raise BadRequest(f"{len(pairs)} parameters were sent; at most {MOST_PARAMETERS} are allowed")
    if command is not None:
        sent = next((value for name, value in pairs.items() if name.lower() == "command"), command)
        if sent != command:
            raise BadRequest(f"The path names command {command}, the parameters {sent}; send one of them")
        pairs.setdefault("command", command)
    return pairs


def wants_json(pairs: Mapping[str, str]) -> bool:
    """Whether the caller asked for JSON; XML is the default."""
    return any(name.lower() == "response" and value.lower() == "json" for name, value in pairs.items())


def respond(
    envelope: str, body: Mapping[str, Any], *, as_json: bool, version: str, status: int = 200
) -> Response:
    """One answer: a single top-level name, in JSON or XML."""
    if as_json:
        response = Response(msgspec.json.encode({envelope: body}), status=status, content_type=JSON_TYPE)
    else:
        response = Response(to_xml(envelope, body, version), status=status, content_type=XML_TYPE)
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def respond_error(envelope: str, error: CloudError, *, as_json: bool, version: str) -> Response:
    """An error as clients know it; `X-Description` repeats the text."""
    body = {"uuidList": [], "errorcode": error.code, "cserrorcode": error.cs_code, "errortext": error.text}
    response = respond(envelope, body, as_json=as_json, version=version, status=error.code)
    one_line = error.text.replace("\r", " ").replace("\n", " ")
    response.headers["X-Description"] = one_line.encode("ascii", "replace").decode()
    return response


def as_cloud_error(error: Exception) -> CloudError:
    """What a failure is to the user: known errors as they are, the rest 530 with details in the log only."""
    if isinstance(error, CloudError):
        return error
    if isinstance(error, IntegrityError):
        LOG.warning("refused by the database, because of a constraint: %s", error.orig)
        return InUse(
            "Another object has this name or address, or still uses this one; list them and try again"
        )
    LOG.error("a call failed, because of %s", type(error).__name__, exc_info=error)
    return CloudError("The management server failed inside; its log says why")


def to_xml(envelope: str, body: Mapping[str, Any], version: str) -> bytes:
    """The same tree as XML: a list is its name repeated."""
    root = Element(envelope, {"cloud-stack-version": version})
    for name, value in body.items():
        _append(root, name, value)
    text: bytes = tostring(root, encoding="UTF-8", xml_declaration=True)
    return text


def _append(parent: Element, name: str, value: Any) -> None:
    if isinstance(value, list):
        for item in value:
            _append(parent, name, item)
        return
    element = SubElement(parent, name)
    if isinstance(value, Mapping):
        for key, item in value.items():
            _append(element, key, item)
    else:
        element.text = _text(value)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
