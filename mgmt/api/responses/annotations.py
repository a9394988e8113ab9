"""Annotations on the wire."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from mgmt.api.call import Call
from mgmt.api.registry import Entity, Response
from mgmt.api.resources import Tables
from mgmt.api.responses.lookup import rows_by_id, wire_time
from mgmt.store import tables
from mgmt.store.tables import Annotation, User

ANNOTATED: Tables = {
    "AFFINITY_GROUP": tables.AffinityGroup,
    "CLUSTER": tables.Cluster,
    "DISK_OFFERING": tables.DiskOffering,
    "DOMAIN": tables.Domain,
    "HOST": tables.Host,
    "INSTANCE_GROUP": tables.InstanceGroup,
    "ISO": tables.Template,
    "NETWORK": tables.Network,
    "NETWORK_OFFERING": tables.NetworkOffering,
    "POD": tables.Pod,
    "PRIMARY_STORAGE": tables.StoragePool,
    "PUBLIC_IP_ADDRESS": tables.PublicAddress,
    "SECONDARY_STORAGE": tables.ImageStore,
    "SERVICE_OFFERING": tables.ServiceOffering,
    "SSH_KEYPAIR": tables.SshKeyPair,
    "SYSTEM_VM": tables.Vm,
    "TEMPLATE": tables.Template,
    "USER_DATA": tables.UserData,
    "VM": tables.Vm,
    "VOLUME": tables.Volume,
    "VR": tables.Vm,
    "ZONE": tables.Zone,
}
"""CloudStack's names of what can be annotated."""


class AnnotationResponse(Response):
    """A note on a resource."""

    id: str
    entityid: str
    entitytype: str
    annotation: str
    userid: str
    adminsonly: bool
    created: str | None
    username: str | None = None
    entityname: str | None = None


def annotation_responses(call: Call, rows: Sequence[Annotation]) -> list[AnnotationResponse]:
    """Annotations on the wire; the names of what they are on are looked up once per type."""
    users = rows_by_id(call, User, (row.user_id for row in rows))
    wanted: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        wanted[row.entity_type].append(row.entity_id)
    named: dict[str, Any] = {}
    for kind, ids in wanted.items():
        named |= rows_by_id(call, ANNOTATED[kind], ids)
    return [
        AnnotationResponse(
            id=row.id,
            entityid=row.entity_id,
            entitytype=row.entity_type,
            entityname=getattr(named.get(row.entity_id), "name", None),
            annotation=row.text,
            userid=row.user_id,
            username=users[row.user_id].username if row.user_id in users else None,
            adminsonly=row.admins_only,
            created=wire_time(row.created),
        )
        for row in rows
    ]


ANNOTATION = Entity(Annotation, AnnotationResponse, "annotation", annotation_responses)
