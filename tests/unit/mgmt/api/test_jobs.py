"""Jobs: written with their object, started after the commit, their results as clients read them."""

from typing import Annotated
from xml.etree.ElementTree import fromstring

import pytest
from sqlalchemy import select

from mgmt.api.access import EVERYONE, Ref
from mgmt.api.call import Call
from mgmt.api.dispatch import dispatch
from mgmt.api.params import Form
from mgmt.api.registry import AsyncCommand, Registry, Spec
from mgmt.api.responses.infra import ZONE
from mgmt.api.sessions import load_caller
from mgmt.api.testing import Api, Client, sign
from mgmt.model.errors import CloudError, ParameterError
from mgmt.model.states import JobStatus
from mgmt.store.tables import Job, User, Zone

pytestmark = pytest.mark.unit
DNS = {"dns1": "9.9.9.9", "internaldns1": "9.9.9.9"}


class PaintZone(AsyncCommand, kw_only=True, frozen=True):
    """Paints a zone, in the background."""

    creates = True

    id: Annotated[str, Ref(Zone)]
    colour: str

    def run(self, call: Call) -> Job:
        zone = call.row(Zone, self.id)
        zone.name = self.colour
        job = call.submit("zone.paint", {"zone_id": zone.id}, kind="Zone", about=zone)
        if self.colour == "transparent":
            raise ParameterError("Nobody would see it")
        return job


@pytest.fixture
def zone(admin: Client) -> str:
    return str(admin.get("createZone", name="z", networktype="Advanced", **DNS)["zone"]["id"])


def paint(api: Api, zone: str, colour: str) -> dict[str, object]:
    PaintZone.spec = Spec(answer=ZONE, access=EVERYONE, event="ZONE.PAINT")
    registry = Registry()
    registry.add(PaintZone)
    registered = registry.find("paintZone")
    assert registered is not None
    with api.context.database.reading() as session:
        user = session.scalars(select(User).where(User.username == "admin")).one()
        caller = load_caller(session, user)
    assert caller is not None
    return dispatch(api.context, caller, registered, Form({"id": zone, "colour": colour}))


def test_the_first_answer_is_the_job_and_the_id(api: Api, admin: Client, zone: str) -> None:
    answer = paint(api, zone, "red")
    assert set(answer) == {"id", "jobid"}
    assert answer["id"] == zone
    assert api.jobs.started == [answer["jobid"]], "started once, after the commit"
    with api.context.database.reading() as session:
        job = session.get_one(Job, answer["jobid"])
    assert (job.workflow, job.arguments, job.event_type) == ("zone.paint", {"zone_id": zone}, "ZONE.PAINT")
    pending = admin.get("queryAsyncJobResult", jobid=job.id)
    assert (pending["jobstatus"], pending["jobinstanceid"]) == (0, zone)
    assert not {"jobresult", "jobresulttype", "completed"} & set(pending)


def test_a_handler_that_raises_leaves_neither_object_nor_job(api: Api, admin: Client, zone: str) -> None:
    with pytest.raises(CloudError):
        paint(api, zone, "transparent")
    assert api.jobs.started == []
    assert admin.get("listAsyncJobs") == {}
    assert admin.get("listZones")["zone"][0]["name"] == "z"


def test_a_failed_job_has_code_and_text(api: Api, admin: Client, zone: str) -> None:
    job_id = paint(api, zone, "red")["jobid"]
    with api.context.database.writing() as session:
        job = session.get_one(Job, job_id)
        job.status, job.error_code, job.error_text = JobStatus.failed, 533, "paint: the pot is empty"
        job.completed = api.context.clock()
    failed = admin.get("queryAsyncJobResult", jobid=job_id)
    assert (failed["jobstatus"], failed["jobresultcode"]) == (2, 533)
    assert failed["jobresult"] == {"errorcode": 533, "errortext": "paint: the pot is empty"}
    assert "completed" in failed


def test_jobs_of_others_are_not_told(api: Api, zone: str) -> None:
    job_id = paint(api, zone, "red")["jobid"]
    bob = api.account("bob")
    assert bob("queryAsyncJobResult", jobid=job_id).status == 531
    assert bob.get("listAsyncJobs", listall=True) == {}


def test_lists_in_xml(api: Api, admin: Client, zone: str) -> None:
    query = {"command": "listZones", "apiKey": admin.api_key}
    answer = api.app.test_client().get(
        "/client/api", query_string={**query, "signature": sign(query, admin.secret)}
    )
    assert answer.content_type.startswith("text/xml")
    root = fromstring(answer.data)  # noqa: S314 (our own answer)
    assert root.tag == "listzonesresponse"
    assert root.get("cloud-stack-version") == "4.22.0.0"
    assert root.findtext("count") == "1"
    assert root.findtext("zone/id") == zone
    assert root.findtext("zone/securitygroupsenabled") == "false"


def test_a_list_of_jobs_has_their_errors_but_not_their_objects(api: Api, admin: Client, zone: str) -> None:
    def statements() -> int:
        with api.counted() as seen:
            admin.get("listAsyncJobs")
        return len(seen)

    first = paint(api, zone, "red")["jobid"]
    few = statements()
    for colour in ("green", "blue"):
        paint(api, zone, colour)
    with api.context.database.writing() as session:
        for job in session.scalars(select(Job)):
            job.status, job.completed = JobStatus.succeeded, api.context.clock()
        failed = session.get_one(Job, first)
        failed.status, failed.error_code, failed.error_text = JobStatus.failed, 533, "the pot is empty"
    jobs = {item["jobid"]: item for item in admin.get("listAsyncJobs")["asyncjobs"]}
    assert jobs[first]["jobresult"] == {"errorcode": 533, "errortext": "the pot is empty"}
    assert [item for item in jobs.values() if "jobresult" in item] == [jobs[first]]
    assert statements() == few, "however many jobs there are"
    later = "2099-01-01"
    assert admin.get("listAsyncJobs", startdate=later) == {}
