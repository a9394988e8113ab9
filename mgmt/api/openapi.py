"""The API as an OpenAPI 3.1 document, made from the registry; the server has it at `/client/openapi.json`.

OpenAPI knows paths, CloudStack's protocol a parameter: each command is shown at `/client/api/<command>`,
where it is answered as well. Source: https://spec.openapis.org/oas/v3.1.0
"""

from functools import cache
from typing import Any

from mgmt.api.commands.apis import describe_command
from mgmt.api.registry import REGISTRY, Registered

Document = dict[str, Any]

SCHEMAS: dict[str, Document] = {
    "boolean": {"type": "boolean"},
    "float": {"type": "number"},
    "integer": {"type": "integer"},
    "list": {"type": "array", "items": {"type": "string"}},
    "map": {"type": "object", "additionalProperties": {"type": "string"}},
    "object": {"type": "object"},
    "string": {"type": "string"},
    "tzdate": {"type": "string", "description": "as 2026-01-31T12:00:00+0000"},
    "uuid": {"type": "string", "format": "uuid"},
}
ERROR: Document = {
    "type": "object",
    "required": ["errorcode", "cserrorcode", "errortext"],
    "properties": {
        "errorcode": {"type": "integer", "description": "the HTTP status"},
        "cserrorcode": {"type": "integer"},
        "errortext": {"type": "string", "description": "what was wrong with which value, and what to do"},
        "uuidList": {"type": "array", "items": {"type": "string"}},
    },
}
JOB: Document = {
    "type": "object",
    "required": ["jobid"],
    "properties": {
        "jobid": {"type": "string", "description": "ask queryAsyncJobResult until jobstatus is not 0"},
        "id": {"type": "string", "format": "uuid", "description": "of the object that is created"},
    },
}
SECURITY: Document = {
    "apikey": {"type": "apiKey", "in": "query", "name": "apikey", "description": "of a user; with signature"},
    "signature": {
        "type": "apiKey",
        "in": "query",
        "name": "signature",
        "description": "base64 of HMAC-SHA1 over the sorted, encoded and lower-cased parameters",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "JSESSIONID",
        "description": "of login; with sessionkey",
    },
    "sessionkey": {"type": "apiKey", "in": "query", "name": "sessionkey", "description": "of login"},
}


@cache
def openapi(version: str) -> Document:
    """The document of all commands."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Pileus",
            "version": version,
            "description": "The Apache CloudStack API. Any command is also at /client/api?command=NAME.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {f"/client/api/{item.name}": {"post": _operation(item)} for item in REGISTRY.all()},
        "components": {"schemas": {"Error": ERROR, "Job": JOB}, "securitySchemes": SECURITY},
        "security": [{"apikey": [], "signature": []}, {"session": [], "sessionkey": []}],
    }


def _operation(registered: Registered) -> Document:
    described = describe_command(registered.name)
    properties = {item.name: _schema(item.type, item.description, item.length) for item in described.params}
    properties["response"] = {"type": "string", "enum": ["json", "xml"], "description": "xml by default"}
    required = [item.name for item in described.params if item.required]
    form: Document = {"type": "object", "properties": properties}
    if required:
        form["required"] = required
    return {
        "operationId": registered.name,
        "summary": described.description,
        "tags": [registered.command.__module__.rsplit(".", 1)[-1]],
        "requestBody": {"content": {"application/x-www-form-urlencoded": {"schema": form}}},
        "responses": {
            "200": _content(
                "The answer, or the job that will have it", registered.envelope, _body(registered)
            ),
            "default": _content("A refusal", registered.envelope, {"$ref": "#/components/schemas/Error"}),
        },
    }


def _body(registered: Registered) -> Document:
    if registered.command.is_async:
        return {"$ref": "#/components/schemas/Job"}
    fields = _fields(describe_command(registered.name).response)
    key = registered.spec.response_key
    if key is None:
        return fields
    if registered.name.startswith("list") or registered.spec.listed:
        listed = {"count": {"type": "integer"}, key: {"type": "array", "items": fields}}
        return {"type": "object", "properties": listed, "description": "empty when nothing was found"}
    return {"type": "object", "properties": {key: fields}}


def _fields(described: list[Any]) -> Document:
    properties: Document = {}
    for item in described:
        field = (
            item if isinstance(item, dict) else {name: getattr(item, name) for name in item.__struct_fields__}
        )
        schema = _schema(field["type"], field["description"])
        inner = field.get("response")
        if inner:
            schema = {**_fields(inner), "description": field["description"]}
            schema = {"type": "array", "items": schema} if field["type"] == "list" else schema
        properties[field["name"]] = schema
    return {"type": "object", "properties": properties}


def _schema(kind: str, description: str, length: int | None = None) -> Document:
    schema = {"description": description, **SCHEMAS[kind]}
    return {**schema, "maxLength": length} if length and kind == "string" else schema


def _content(description: str, envelope: str, body: Document) -> Document:
    schema = {"type": "object", "properties": {envelope: body}}
    return {"description": description, "content": {"application/json": {"schema": schema}}}
