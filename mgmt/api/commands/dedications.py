"""Zones, pods, clusters and hosts for one domain or account alone."""

from typing import Annotated, Any

from sqlalchemy import Select, select

from mgmt.api.access import ROOT, Ref
from mgmt.api.call import Call
from mgmt.api.lists import Equals, ListCommand
from mgmt.api.params import Unsupported, wrong_value
from mgmt.api.registry import AsyncCommand, Spec
from mgmt.api.responses.dedications import (
    DEDICATED_CLUSTER,
    DEDICATED_HOST,
    DEDICATED_POD,
    DEDICATED_ZONE,
)
from mgmt.model.errors import ParameterError
from mgmt.ops.infrastructure.dedications import KINDS, Beneficiary, dedicate, release_dedication
from mgmt.store.tables import Account, Cluster, Dedication, Domain, Host, Job, Pod, Zone

ForDomain = Annotated[str, Ref(Domain), "the domain it is for, with those below"]
ForAccount = Annotated[str | None, "the account of that domain it is for alone"]


class _Dedicate(AsyncCommand, kw_only=True, frozen=True):
    domainid: ForDomain
    account: ForAccount = None

    def _give(self, call: Call, kind: str, resource_id: str) -> Job:
        domain = call.row(Domain, self.domainid)
        account = None
        if self.account is not None:
            query = select(Account).where(
                Account.name == self.account, Account.domain_id == domain.id, Account.removed.is_(None)
            )
            account = call.session.scalar(query)
            if account is None:
                expected = f"the name of an account in domain {domain.name}"
                raise wrong_value("account", self.account, expected)
        row = call.row(KINDS[kind], resource_id)
        made = dedicate(call.session, kind, row, Beneficiary(domain, account))
        return call.finish(kind="DedicatedResource", about=made)


class _Release(AsyncCommand, kw_only=True, frozen=True):
    def _take(self, call: Call, kind: str, resource_id: str) -> Job:
        row: Any = call.row(KINDS[kind], resource_id)
        if not release_dedication(call.session, row.id, call.now()):
            raise ParameterError(f"The {kind} {row.name} is not dedicated to anybody")
        return call.finish(kind="DedicatedResource", about=row)


class _List(ListCommand, kw_only=True, frozen=True):
    domainid: Annotated[str | None, Ref(Domain), Equals(Dedication.domain_id)] = None
    account: Annotated[str | None, "list only those for the account of this name"] = None
    affinitygroupid: Annotated[str | None, Unsupported("dedications have no affinity groups")] = None

    def _of(self, query: Select[Any], kind: str) -> Select[Any]:
        query = query.where(Dedication.resource_type == kind)
        if self.account is not None:
            named = select(Account.id).where(Account.name == self.account, Account.removed.is_(None))
            query = query.where(Dedication.account_id.in_(named))
        return query


class DedicateZone(_Dedicate, kw_only=True, frozen=True):
    """Dedicates a zone to a domain, or to one account of it."""

    spec = Spec(answer=DEDICATED_ZONE, access=ROOT, event="DEDICATE.RESOURCE")

    zoneid: Annotated[str, Ref(Zone)]

    def run(self, call: Call) -> Job:
        """Nobody else may have anything there."""
        return self._give(call, "zone", self.zoneid)


class ReleaseDedicatedZone(_Release, kw_only=True, frozen=True):
    """Lets everybody use a dedicated zone again."""

    spec = Spec(access=ROOT, event="DEDICATE.RESOURCE.RELEASE")

    zoneid: Annotated[str, Ref(Zone)]

    def run(self, call: Call) -> Job:
        """End the dedication."""
        return self._take(call, "zone", self.zoneid)


class ListDedicatedZones(_List, kw_only=True, frozen=True):
    """Lists dedicated zones."""

    spec = Spec(answer=DEDICATED_ZONE, access=ROOT)

    zoneid: Annotated[str | None, Ref(Zone), Equals(Dedication.resource_id)] = None

    def narrow(self, call: Call, query: Select[Any]) -> Select[Any]:
        """Only zones."""
        return self._of(query, "zone")


class DedicatePod(_Dedicate, kw_only=True, frozen=True):
    """Dedicates a pod to a domain, or to one account of it."""

    spec = Spec(answer=DEDICATED_POD, access=ROOT, event="DEDICATE.RESOURCE")

    podid: Annotated[str, Ref(Pod)]

    def run(self, call: Call) -> Job:
        """Nobody else may have anything there."""
        return self._give(call, "pod", self.podid)


class ReleaseDedicatedPod(_Release, kw_only=True, frozen=True):
    """Lets everybody use a dedicated pod again."""

    spec = Spec(access=ROOT, event="DEDICATE.RESOURCE.RELEASE")

    podid: Annotated[str, Ref(Pod)]

    def run(self, call: Call) -> Job:
        """End the dedication."""
        return self._take(call, "pod", self.podid)


class ListDedicatedPods(_List, kw_only=True, frozen=True):
    """Lists dedicated pods."""

    spec = Spec(answer=DEDICATED_POD, access=ROOT)

    podid: Annotated[str | None, Ref(Pod), Equals(Dedication.resource_id)] = None

    def narrow(self, call: Call, query: Select[Any]) -> Select[Any]:
        """Only pods."""
        return self._of(query, "pod")


class DedicateCluster(_Dedicate, kw_only=True, frozen=True):
    """Dedicates a cluster to a domain, or to one account of it."""

    spec = Spec(answer=DEDICATED_CLUSTER, access=ROOT, event="DEDICATE.RESOURCE")

    clusterid: Annotated[str, Ref(Cluster)]

    def run(self, call: Call) -> Job:
        """Nobody else may have anything there."""
        return self._give(call, "cluster", self.clusterid)


class ReleaseDedicatedCluster(_Release, kw_only=True, frozen=True):
    """Lets everybody use a dedicated cluster again."""

    spec = Spec(access=ROOT, event="DEDICATE.RESOURCE.RELEASE")

    clusterid: Annotated[str, Ref(Cluster)]

    def run(self, call: Call) -> Job:
        """End the dedication."""
        return self._take(call, "cluster", self.clusterid)


class ListDedicatedClusters(_List, kw_only=True, frozen=True):
    """Lists dedicated clusters."""

    spec = Spec(answer=DEDICATED_CLUSTER, access=ROOT)

    clusterid: Annotated[str | None, Ref(Cluster), Equals(Dedication.resource_id)] = None

    def narrow(self, call: Call, query: Select[Any]) -> Select[Any]:
        """Only clusters."""
        return self._of(query, "cluster")


class DedicateHost(_Dedicate, kw_only=True, frozen=True):
    """Dedicates a host to a domain, or to one account of it."""

    spec = Spec(answer=DEDICATED_HOST, access=ROOT, event="DEDICATE.RESOURCE")

    hostid: Annotated[str, Ref(Host)]

    def run(self, call: Call) -> Job:
        """Nobody else may have anything there."""
        return self._give(call, "host", self.hostid)


class ReleaseDedicatedHost(_Release, kw_only=True, frozen=True):
    """Lets everybody use a dedicated host again."""

    spec = Spec(access=ROOT, event="DEDICATE.RESOURCE.RELEASE")

    hostid: Annotated[str, Ref(Host)]

    def run(self, call: Call) -> Job:
        """End the dedication."""
        return self._take(call, "host", self.hostid)


class ListDedicatedHosts(_List, kw_only=True, frozen=True):
    """Lists dedicated hosts."""

    spec = Spec(answer=DEDICATED_HOST, access=ROOT)

    hostid: Annotated[str | None, Ref(Host), Equals(Dedication.resource_id)] = None

    def narrow(self, call: Call, query: Select[Any]) -> Select[Any]:
        """Only hosts."""
        return self._of(query, "host")
