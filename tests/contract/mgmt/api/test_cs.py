"""The stock client `cs`, unmodified, against the API on loopback."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from cs import CloudStack, CloudStackApiException
from werkzeug.serving import make_server

from mgmt.api.testing import Api, open_api

pytestmark = pytest.mark.contract


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with open_api(tmp_path_factory.mktemp("cs")) as opened:
        yield opened


@pytest.fixture(scope="module")
def endpoint(api: Api) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, api.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/client/api"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(params=["get", "post"])
def cloud(request: pytest.FixtureRequest, api: Api, endpoint: str) -> CloudStack:
    keys = api.client("admin")
    return CloudStack(
        endpoint=endpoint, key=keys.api_key, secret=keys.secret, method=request.param, poll_interval=0.05
    )


def test_lists_and_empty_lists(cloud: CloudStack) -> None:
    assert cloud.listPods() == {}
    names = {item["name"] for item in cloud.listServiceOfferings()["serviceoffering"]}
    assert {"Tiny Instance", "Small Instance"} <= names
    assert len(cloud.listOsTypes(fetch_list=True)) > 10
    assert cloud.listPods(fetch_list=True) == []


def test_a_zone_with_the_signs_that_clients_quote_differently(cloud: CloudStack) -> None:
    name = f"zone *~[x] é+ü/{cloud.method}"
    zone = cloud.createZone(name=name, networktype="Advanced", dns1="9.9.9.9", internaldns1="9.9.9.9")["zone"]
    assert zone["name"] == name
    assert cloud.listZones(name=name)["zone"][0]["id"] == zone["id"]
    tagged = cloud.createTags(
        resourceIds=[zone["id"]],
        resourceType="Zone",
        tags=[{"key": "a b", "value": "c&d"}],
        fetch_result=True,
    )
    assert tagged == {"success": True}
    assert cloud.listZones(id=zone["id"])["zone"][0]["tags"] == [{"key": "a b", "value": "c&d"}]
    cloud.deleteTags(resourceIds=[zone["id"]], resourceType="Zone", fetch_result=True)
    assert cloud.deleteZone(id=zone["id"]) == {"success": True}


def test_asynchronous_commands_give_their_object(cloud: CloudStack) -> None:
    zone = cloud.createZone(
        name=f"async {cloud.method}", networktype="Advanced", dns1="9.9.9.9", internaldns1="9.9.9.9"
    )["zone"]
    first = cloud.createPhysicalNetwork(zoneid=zone["id"], name="n")
    assert set(first) == {"id", "jobid"}
    network = cloud.updatePhysicalNetwork(id=first["id"], state="Enabled", fetch_result=True)
    assert network["physicalnetwork"]["state"] == "Enabled"
    cloud.deletePhysicalNetwork(id=first["id"], fetch_result=True)
    cloud.deleteZone(id=zone["id"])


@pytest.mark.parametrize(
    ("command", "parameters", "status", "words"),
    [
        ("createZone", {"name": "x"}, 431, "missing parameter networktype"),
        ("listZones", {"id": "00000000-1111-2222-3333-444444444444"}, 431, "entity does not exist"),
        ("makeCoffee", {}, 401, "unable to verify"),
    ],
)
def test_errors_reach_the_client(
    cloud: CloudStack, command: str, parameters: dict[str, Any], status: int, words: str
) -> None:
    with pytest.raises(CloudStackApiException) as caught:
        getattr(cloud, command)(**parameters)
    error = caught.value.error
    assert error["errorcode"] == status
    assert words in error["errortext"]
    assert isinstance(error["cserrorcode"], int)


def test_a_wrong_secret_is_refused(api: Api, endpoint: str) -> None:
    keys = api.client("admin")
    cloud = CloudStack(endpoint=endpoint, key=keys.api_key, secret=keys.secret + "x")
    with pytest.raises(CloudStackApiException) as caught:
        cloud.listZones()
    assert caught.value.error["errorcode"] == 401


def test_what_lists_of_apis_hold_is_callable(cloud: CloudStack) -> None:
    apis = cloud.listApis()["api"]
    assert len(apis) > 100
    assert {"name", "description", "isasync", "params", "response"} <= set(apis[0])
    (one,) = cloud.listApis(name="deployVirtualMachine")["api"]
    assert one["isasync"] is True
    required = {item["name"] for item in one["params"] if item["required"]}
    assert {"serviceofferingid", "zoneid"} <= required
