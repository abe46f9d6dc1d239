"""The fields that field selectors may name, for each resource.

Upstream registers them kind by kind (AddFieldLabelConversionFunc); every resource has metadata.name and metadata.namespace.
A name with `|` has the value that stands for an absent field behind it.
"""

from k8sfromscratch.components.apiserver.entries import FieldsOf

_EVERY = ("metadata.name", "metadata.namespace")

_MORE: dict[str, tuple[str, ...]] = {
    "pods": (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork|false",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ),
    "nodes": ("spec.unschedulable|false",),
    "namespaces": ("status.phase",),
    "secrets": ("type",),
    "services": ("spec.clusterIP", "spec.type"),
    "replicationcontrollers": ("status.replicas|0",),
    "replicasets.apps": ("status.replicas|0",),
    "jobs.batch": ("status.successful|0",),
    "certificatesigningrequests.certificates.k8s.io": ("spec.signerName",),
    "events": (
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
}

# events.k8s.io has other names for the same fields of the same stored objects; both names are taken in both groups.
_REGARDING = {name.replace("involvedObject", "regarding"): name for name in _MORE["events"] if name.startswith("involvedObject.")}
_EVENTS_ALIASES = {**_REGARDING, "reportingController": "reportingComponent"}
_MORE["events"] += tuple(_EVENTS_ALIASES)

# Where a selector's name is not the field's own path.
_ELSEWHERE = {
    ("jobs.batch", "status.successful"): "status.succeeded",
    ("events", "source"): "source.component",
    **{("events", alias): name for alias, name in _EVENTS_ALIASES.items()},
}


def fields_of(group_resource: str) -> FieldsOf:
    """`group_resource` is `pods` or `deployments.apps`."""
    paths: dict[str, tuple[tuple[str, ...], str]] = {}
    for spec in (*_EVERY, *_MORE.get(group_resource, ())):
        name, _, absent = spec.partition("|")
        path = _ELSEWHERE.get((group_resource, name), name)
        paths[name] = (tuple(path.split(".")), absent)
    return FieldsOf(paths)
