"""Words for parameters and fields: one description per name, unless a hint says something better.

`listApis`, the CLIs' help and the docs are made of them. A test holds that every parameter has words; a
field of an answer without any is called by its name.
"""

WORDS: dict[str, str] = {
    "account": "the account the resource belongs to; together with domainid",
    "accountid": "the ID of the account the resource belongs to",
    "domain": "the name of the domain the resource belongs to",
    "domainid": "the ID of the domain the resource belongs to",
    "domainpath": "the path of the domain the resource belongs to",
    "project": "the name of the project the resource belongs to",
    "projectid": "the ID of the project the resource belongs to",
    "id": "the ID",
    "ids": "a comma separated list of IDs",
    "name": "the name",
    "keyword": "list only items whose name or description contains this text",
    "page": "the number of the page, from 1; together with pagesize",
    "pagesize": "the number of items of a page; -1 for all, without page",
    "listall": "true: everything the caller may see; false: what the caller's own account owns",
    "isrecursive": "true: the domain's subdomains too",
    "tags": "the tags of the resource",
    "success": "true if it is done",
    "displaytext": "a text shown to users",
    "created": "when it was made",
    "removed": "when it was removed",
    "state": "the state",
    "zoneid": "the ID of the zone",
    "zonename": "the name of the zone",
    "podid": "the ID of the pod",
    "podname": "the name of the pod",
    "clusterid": "the ID of the cluster",
    "clustername": "the name of the cluster",
    "hostid": "the ID of the host",
    "hostname": "the name of the host",
    "associatednetworkid": "the ID of the network the address belongs to",
    "description": "a text shown to users",
    "diskofferingid": "the ID of the disk offering",
    "group": "the name of the group the virtual machine is in",
    "ipaddressid": "the ID of the public IP address",
    "isextractable": "true if the template may be downloaded by users",
    "isfeatured": "true if the template is shown first",
    "ispublic": "true if every account may use it",
    "networkid": "the ID of the network",
    "networkofferingid": "the ID of the network offering",
    "nicid": "the ID of the NIC",
    "physicalnetworkid": "the ID of the physical network",
    "publicipid": "the ID of the public IP address",
    "serviceofferingid": "the ID of the service offering",
    "storageid": "the ID of the storage pool",
    "templateid": "the ID of the template",
    "virtualmachineid": "the ID of the virtual machine",
    "vlanid": "the ID of the range of public addresses",
    "jobid": "the ID of the asynchronous job",
    "jobstatus": "the status of the job: 0 pending, 1 succeeded, 2 failed",
}


def describe(name: str) -> str:
    """The words of a name; a plain sentence made of the name when it has none of its own."""
    return WORDS.get(name) or f"the {name}"


def described(name: str) -> bool:
    """Whether the name has words of its own."""
    return name in WORDS
