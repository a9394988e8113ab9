"""Templates and ISOs: registered, shared with some, listed to whom they are for, put into drives."""

from typing import Any

import pytest

from mgmt.model.errors import CloudError, InUse, ParameterError, PermissionDenied
from mgmt.store import tables
from tests.unit.mgmt.api.commands.world import World

pytestmark = pytest.mark.unit
URL = "http://example.org/cd.iso"
FILTERS = ("featured", "self", "selfexecutable", "sharedexecutable", "executable", "community")


def make(world: World, kind: str, caller: str = "alice", **more: Any) -> str:
    """The id of a new image that is ready."""
    sent = {"name": "mine", "url": URL, "zoneid": world.ids["zone"], **more}
    if kind == "Template":
        sent["format"] = "QCOW2"
    answer = world.call(f"register{kind}", caller, **sent)
    assert answer["count"] == 1
    made: str = answer[kind.lower()][0]["id"]
    with world.context.database.writing() as session:
        session.get_one(tables.Template, made).state = "Ready"
    return made


def shown(world: World, kind: str, caller: str, **sent: Any) -> set[str]:
    return {row["id"] for row in world.call(f"list{kind}s", caller, **sent).get(kind.lower(), [])}


def filters_that_show(world: World, kind: str, caller: str, image: str) -> set[str]:
    by = f"{kind.lower()}filter"
    return {name for name in FILTERS if image in shown(world, kind, caller, **{by: name})}


KINDS = pytest.mark.parametrize("kind", ["Template", "Iso"])


@KINDS
def test_who_sees_and_uses_an_image(world: World, kind: str) -> None:
    made = make(world, kind)
    change, own = f"update{kind}Permissions", {"self", "selfexecutable", "executable"}
    by_id = {"id": made, f"{kind.lower()}filter": "executable"}

    assert filters_that_show(world, kind, "alice", made) == own
    assert filters_that_show(world, kind, "bob", made) == set()
    with pytest.raises(PermissionDenied):
        world.call(f"list{kind}s", "bob", **by_id)

    world.call(change, id=made, op="add", accounts="bob")
    world.call(change, id=made, op="add", accounts="bob")
    assert filters_that_show(world, kind, "bob", made) == {"sharedexecutable", "executable"}
    assert shown(world, kind, "bob", **by_id) == {made}
    listed = world.call(f"list{kind}Permissions", id=made)["templatepermission"]
    assert (listed["account"], listed["projectids"], listed["ispublic"]) == (["bob"], [], False)
    for command, sent in ((f"update{kind}", {"name": "his"}), (change, {}), (f"list{kind}Permissions", {})):
        with pytest.raises(PermissionDenied):
            world.call(command, "bob", id=made, **sent)

    world.call(change, id=made, op="remove", accounts="bob")
    assert filters_that_show(world, kind, "bob", made) == set()
    world.call(change, id=made, ispublic="true")
    assert filters_that_show(world, kind, "bob", made) == {"community", "executable"}
    world.call(change, "admin", id=made, isfeatured="true")
    assert filters_that_show(world, kind, "bob", made) == {"featured", "executable"}
    world.call(change, id=made, op="reset")
    row = world.get(tables.Template, made)
    assert (row.is_public, row.is_featured) == (False, False)


@KINDS
def test_an_image_that_is_not_ready_is_not_executable(world: World, kind: str) -> None:
    made = make(world, kind)
    with world.context.database.writing() as session:
        session.get_one(tables.Template, made).state = "Downloading"
    assert filters_that_show(world, kind, "alice", made) == {"self"}


@KINDS
@pytest.mark.parametrize(
    ("sent", "error", "words"),
    [
        ({"op": "give"}, ParameterError, "one of add, remove, reset"),
        ({"op": "add", "accounts": "nobody"}, ParameterError, "Invalid value nobody"),
        ({"accounts": "bob"}, ParameterError, "Send op=add or op=remove"),
        ({"isfeatured": "true"}, PermissionDenied, "Only root administrators"),
    ],
)
def test_permissions_refuse_what_cannot_be(
    world: World, kind: str, sent: dict[str, str], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        world.call(f"update{kind}Permissions", id=make(world, kind), **sent)


@KINDS
def test_public_images_may_be_the_administrators_alone(world: World, kind: str) -> None:
    world.call("updateConfiguration", "admin", name="allow.public.user.templates", value="false")
    made = make(world, kind)
    for command, sent in ((f"update{kind}Permissions", {"id": made, "ispublic": True}),):
        with pytest.raises(PermissionDenied, match=r"allow\.public\.user\.templates is false"):
            world.call(command, **sent)
    with pytest.raises(PermissionDenied, match="Only administrators"):
        make(world, kind, ispublic=True)
    world.call(f"update{kind}Permissions", "admin", id=made, ispublic=True)
    assert made in shown(world, kind, "bob", **{f"{kind.lower()}filter": "executable"})


@pytest.mark.parametrize(("kind", "other"), [("Template", "Iso"), ("Iso", "Template")])
def test_commands_for_the_one_do_not_know_the_other(world: World, kind: str, other: str) -> None:
    made = make(world, other)
    for command in (f"update{kind}", f"delete{kind}", f"update{kind}Permissions", f"list{kind}Permissions"):
        with pytest.raises(ParameterError, match="entity does not exist"):
            world.call(command, id=made)
    assert shown(world, kind, "alice", id=made, **{f"{kind.lower()}filter": "self"}) == set()


def test_isos_by_their_flags(world: World) -> None:
    made = make(world, "Iso", bootable="false")
    for sent, is_there in (
        ({"bootable": "false"}, True),
        ({"bootable": "true"}, False),
        ({"ispublic": "true"}, False),
        ({"isready": "true"}, True),
        ({"isready": "false"}, True),
        ({"hypervisor": "VMware"}, False),
        ({"keyword": "MIN"}, True),
    ):
        assert (made in shown(world, "Iso", "alice", **sent)) == is_there, sent
    world.call(
        "createTags", resourceids=made, resourcetype="ISO", **{"tags[0].key": "k", "tags[0].value": "v"}
    )
    with_tag = {"tags[0].key": "k", "tags[0].value": "v"}
    assert shown(world, "Iso", "alice", **with_tag) == {made}
    (row,) = world.call("listIsos", id=made)["iso"]
    assert (row["bootable"], row["format"], row["tags"][0]["key"]) == (False, "ISO", "k")


def test_updates_of_texts_and_details(world: World) -> None:
    template, iso = make(world, "Template"), make(world, "Iso")
    kind = world.call("listOsTypes")["ostype"][0]
    new = {"name": "n", "displaytext": "d", "ostypeid": kind["id"]}
    row = world.call("updateIso", id=iso, bootable="false", **new)["iso"]
    assert (row["name"], row["displaytext"], row["ostypename"], row["bootable"]) == (
        "n", "d", kind["description"], False,
    )  # fmt: skip
    more = {"details[0].rootDiskController": "virtio"}
    row = world.call("updateTemplate", id=template, **new, **more)["template"]
    assert (row["details"], row["ostypeid"]) == ({"rootDiskController": "virtio"}, kind["id"])
    assert "details" not in world.call("updateTemplate", id=template, cleanupdetails="true")["template"]
    with pytest.raises(ParameterError, match="ostypeid"):
        world.call("updateTemplate", id=template, ostypeid=iso)


def test_an_iso_goes_into_a_drive_and_stays_while_it_is_there(world: World) -> None:
    vm, made = world.vm(world.network()), make(world, "Iso")
    with pytest.raises(ParameterError, match="has no ISO attached"):
        world.call("detachIso", virtualmachineid=vm.id)
    world.call("attachIso", id=made, virtualmachineid=vm.id)
    job = world.last_job()
    assert (job.workflow, job.arguments) == ("attach_iso", {"vm_id": vm.id, "iso_id": made})
    with world.context.database.writing() as session:
        session.get_one(tables.Vm, vm.id).iso_id = made
    (row,) = world.call("listVirtualMachines", isoid=made)["virtualmachine"]
    assert (row["id"], row["isoid"], row["isoname"]) == (vm.id, made, "mine")
    with pytest.raises(InUse, match="is attached to VM web; detach it first"):
        world.call("deleteIso", id=made)
    with pytest.raises(InUse, match="has an ISO in its drive"):
        world.call("attachIso", id=make(world, "Iso"), virtualmachineid=vm.id)
    world.call("attachIso", id=make(world, "Iso"), virtualmachineid=vm.id, forced="true")
    world.call("detachIso", virtualmachineid=vm.id)
    assert world.last_job().workflow == "detach_iso"


def test_what_cannot_go_into_a_drive(world: World) -> None:
    vm, made = world.vm(world.network()), make(world, "Iso")
    cases: tuple[tuple[str, dict[str, str], type[Exception], str], ...] = (
        ("bob", {"id": made}, PermissionDenied, "does not have permission"),
        ("alice", {"id": world.ids["template"]}, ParameterError, "entity does not exist"),
        ("alice", {"id": made, "virtualmachineid": made}, ParameterError, "entity does not exist"),
    )
    for caller, sent, error, words in cases:
        with pytest.raises(error, match=words):
            world.call("attachIso", caller, **{"virtualmachineid": vm.id, **sent})
    for table, row, words in ((tables.Template, made, "wait until"), (tables.Vm, vm.id, "only a Running")):
        with world.context.database.writing() as session:
            session.get_one(table, row).state = "Starting"
        with pytest.raises(ParameterError, match=words):
            world.call("attachIso", id=made, virtualmachineid=vm.id)
        with world.context.database.writing() as session:
            session.get_one(table, row).state = "Ready"


def test_a_vm_is_deployed_from_an_iso_with_a_disk_offering(world: World) -> None:
    sent = {
        "zoneid": world.ids["zone"],
        "serviceofferingid": world.ids["service_offering"],
        "templateid": make(world, "Iso"),
        "networkids": world.network().id,
    }
    offering = {"diskofferingid": world.ids["disk_offering"]}
    for more, words in (({}, "brings no root disk"), (offering, "leaves the size open")):
        with pytest.raises(ParameterError, match=words):
            world.call("deployVirtualMachine", **sent, **more)
    made = world.call("deployVirtualMachine", **sent, **offering, size=3)["id"]
    (vm,) = world.call("listVirtualMachines", id=made)["virtualmachine"]
    assert vm["isoid"] == vm["templateid"] == sent["templateid"]
    (root,) = world.call("listVolumes", virtualmachineid=made)["volume"]
    assert (root["type"], root["size"], root.get("templateid")) == ("ROOT", 3 << 30, None)
    world.call("updateIso", id=sent["templateid"], bootable="false")
    with pytest.raises(ParameterError, match="is not bootable"):
        world.call("deployVirtualMachine", **sent, **offering, size=3, name="other")


def more_zone(world: World, name: str, allocation: str = "Enabled") -> str:
    """One more zone, with an image store."""
    with world.context.database.writing() as session:
        zone = tables.Zone(name=name, dns1="9.9.9.9", internal_dns1="9.9.9.9", allocation=allocation)
        session.add(zone)
        session.flush()
        session.add(tables.ImageStore(zone_id=zone.id, name=f"of {name}"))
        return zone.id


@pytest.mark.parametrize(
    ("kind", "sent"),
    [("Template", {"zoneids": "{zone},{more}"}), ("Template", {"zoneid": "-1"}), ("Iso", {"zoneid": "-1"})],
)
def test_an_image_is_registered_in_several_zones(world: World, kind: str, sent: dict[str, str]) -> None:
    """One id, one row a zone; a disabled zone is not among all of them."""
    more = more_zone(world, "more")
    more_zone(world, "closed", "Disabled")
    asked = {"name": "mine", "url": URL, **({"format": "QCOW2"} if kind == "Template" else {})}
    where = {key: value.format(zone=world.ids["zone"], more=more) for key, value in sent.items()}
    answer = world.call(f"register{kind}", "admin", **asked, **where)
    rows = answer[kind.lower()]
    assert (answer["count"], {row["zoneid"] for row in rows}) == (2, {world.ids["zone"], more})
    (shown_id,) = {row["id"] for row in rows}
    listed = world.call(f"list{kind}s", "admin", id=shown_id, **{f"{kind.lower()}filter": "all"})
    assert {row["zoneid"] for row in listed[kind.lower()]} == {world.ids["zone"], more}


@pytest.mark.parametrize(
    ("caller", "sent", "words"),
    [
        ("alice", {"zoneid": "-1"}, "Only root administrators register in all zones"),
        ("admin", {"zoneid": "{zone}", "zoneids": "{zone}"}, "zoneid or zoneids, not both"),
        ("admin", {}, "Send zoneid or zoneids"),
        ("admin", {"zoneids": "{zone},-1"}, "Invalid parameter zoneids value=-1"),
        ("admin", {"zoneids": "{zone},{bare}"}, "Zone bare has no image store"),
    ],
)
def test_zones_that_an_image_cannot_be_registered_in(
    world: World, caller: str, sent: dict[str, str], words: str
) -> None:
    with world.context.database.writing() as session:
        bare = tables.Zone(name="bare", dns1="9.9.9.9", internal_dns1="9.9.9.9", allocation="Enabled")
        session.add(bare)
        session.flush()
        bare_id = bare.id
    where = {key: value.format(zone=world.ids["zone"], bare=bare_id) for key, value in sent.items()}
    with pytest.raises(CloudError, match=words):
        world.call("registerTemplate", caller, name="nowhere", url=URL, format="QCOW2", **where)
    assert shown(world, "Template", "admin", templatefilter="all", keyword="nowhere") == set()
