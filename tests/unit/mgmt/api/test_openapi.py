"""The OpenAPI document: valid, of every command, and true."""

import pytest
from openapi_spec_validator import validate

from mgmt.api.openapi import openapi
from mgmt.api.registry import REGISTRY
from mgmt.api.testing import Api, Client, read_answer, sign

pytestmark = pytest.mark.unit


def test_it_is_valid_and_whole(api: Api) -> None:
    document = api.app.test_client().get("/client/openapi.json").get_json()
    validate(document)
    assert {path.rsplit("/", 1)[-1] for path in document["paths"]} == {item.name for item in REGISTRY.all()}


def test_lists_jobs_and_objects_have_their_shapes(api: Api) -> None:
    paths = openapi("1")["paths"]

    def answer(name: str) -> object:
        content = paths[f"/client/api/{name}"]["post"]["responses"]["200"]["content"]
        return content["application/json"]["schema"]["properties"][f"{name.lower()}response"]

    listed = answer("listZones")["properties"]["zone"]  # type: ignore[index]
    assert listed["items"]["properties"]["id"]["type"] == "string"
    assert answer("startVirtualMachine") == {"$ref": "#/components/schemas/Job"}
    form = paths["/client/api/startVirtualMachine"]["post"]["requestBody"]["content"]
    assert form["application/x-www-form-urlencoded"]["schema"]["required"] == ["id"]


def signed(client: Client, **parameters: str) -> dict[str, str]:
    sent = {"response": "json", "apiKey": client.api_key, **parameters}
    return sent | {"signature": sign(sent | {"command": "listZones"}, client.secret)}


def test_a_command_is_answered_at_its_path(api: Api, admin: Client) -> None:
    web = api.app.test_client()
    answer = read_answer(web.post("/client/api/listZones", data=signed(admin)))
    assert (answer.status, answer.envelope) == (200, "listzonesresponse")
    mixed = web.post("/client/api/listZones", data=signed(admin, command="listPods"))
    assert mixed.status_code == 400
    assert "listPods" in mixed.headers["X-Description"]
    assert read_answer(web.post("/client/api/listZones", data={"response": "json"})).status == 401
