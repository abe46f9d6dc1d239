"""The columns of `kubectl get`: the server prints, every client shows the same.

    columns(PODS)           headings; those with priority 1 are shown by `-o wide` alone
    cells(PODS, pod, now)   one row, a value for each heading

A kind that is not in the table shows NAME and AGE, as custom resources without columns of their own do.  The wire form (the
meta.k8s.io Table) is the apiserver's matter.  Source: pkg/printers/internalversion/printers.go.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from k8sfromscratch.api import registry as r
from k8sfromscratch.api.columns import cluster, network, pods, storage, workloads
from k8sfromscratch.api.columns.text import Object
from k8sfromscratch.api.resource import Resource

Cells = Callable[[Object, datetime], list[Any]]


@dataclass(frozen=True, slots=True)
class Column:
    """`type` and `format` as in OpenAPI; priority 0 is always shown, 1 in the wide form."""

    name: str
    type: str = "string"
    format: str = ""
    description: str = ""
    priority: int = 0


def columns(resource: Resource) -> tuple[Column, ...]:
    return _TABLE.get((resource.api_version, resource.kind), _DEFAULT)[0]


def cells(resource: Resource, obj: Object, now: datetime) -> list[Any]:
    return _TABLE.get((resource.api_version, resource.kind), _DEFAULT)[1](obj, now)


_DESCRIPTIONS = {
    "Name": "The object's name, unique among its kind and namespace.",
    "Age": "How long ago the object was created.",
    "Created At": "When the object was created.",
    "Ready": "How many are ready, of how many.",
    "Status": "The state that tells most.",
    "Restarts": "How often containers were restarted, and when last.",
}
_INTEGERS = frozenset({"Desired", "Current", "Webhooks", "Active", "Value", "Revision"})


def _table(names: str, wide: str, row: Cells) -> tuple[tuple[Column, ...], Cells]:
    """`names` and `wide` are headings separated by commas, with their type behind a colon where it is no other kind's too."""
    shown = [(name.strip(), 0) for name in names.split(",")] + [(name.strip(), 1) for name in wide.split(",") if name]
    return tuple(_column(name, priority) for name, priority in shown), row


def _column(name: str, priority: int) -> Column:
    name, _, stated = name.partition(":")
    kind = stated or ("integer" if name in _INTEGERS else "date" if name == "Created At" else "string")
    return Column(name, kind, "name" if name == "Name" else "", _DESCRIPTIONS.get(name, ""), priority)


def _event_table(row: Cells) -> tuple[tuple[Column, ...], Cells]:
    """The only rows whose wide columns stand between the others."""
    wide = {"Subobject", "Source", "First Seen", "Count", "Name"}
    names = ("Last Seen", "Type", "Reason", "Object", "Subobject", "Source", "Message", "First Seen", "Count", "Name")
    return tuple(_column(name, int(name in wide)) for name in names), row


_OF_PODS = "Containers,Images,Selector"
_SUBJECTS = "Users,Groups,ServiceAccounts"
_SCALER = "Name,Reference,Targets,MinPods,MaxPods,Replicas,Age"

SCALES = Resource("autoscaling", "v1", "Scale", "scales")
"""What the scale subresource shows, whatever kind has it."""

_DEFAULT = _table("Name,Age", "", cluster.name_and_age)
_TABLE: Mapping[tuple[str, str], tuple[tuple[Column, ...], Cells]] = {
    (resource.api_version, resource.kind): table
    for resource, table in {
        r.PODS: _table("Name,Ready,Status,Restarts,Age", "IP,Node,Nominated Node,Readiness Gates", pods.cells),
        r.POD_TEMPLATES: _table("Name,Containers,Images,Pod Labels", "", workloads.pod_template),
        r.REPLICATION_CONTROLLERS: _table("Name,Desired,Current,Ready:integer,Age", _OF_PODS, workloads.replication_controller),
        r.REPLICA_SETS: _table("Name,Desired,Current,Ready:integer,Age", _OF_PODS, workloads.replica_set),
        r.DEPLOYMENTS: _table("Name,Ready,Up-to-date,Available,Age", _OF_PODS, workloads.deployment),
        r.DAEMON_SETS: _table("Name,Desired,Current,Ready:integer,Up-to-date:integer,Available:integer,Node Selector,Age", _OF_PODS, workloads.daemon_set),
        r.STATEFUL_SETS: _table("Name,Ready,Age", "Containers,Images", workloads.stateful_set),
        r.JOBS: _table("Name,Status,Completions,Duration,Age", _OF_PODS, workloads.job),
        r.CRON_JOBS: _table("Name,Schedule,Timezone,Suspend,Active,Last Schedule,Age", _OF_PODS, workloads.cron_job),
        r.CONTROLLER_REVISIONS: _table("Name,Controller,Revision,Age", "", workloads.controller_revision),
        r.HORIZONTAL_POD_AUTOSCALERS: _table(_SCALER, "", workloads.horizontal_pod_autoscaler),
        r.HORIZONTAL_POD_AUTOSCALERS_V1: _table(_SCALER, "", workloads.horizontal_pod_autoscaler_v1),
        SCALES: _table("Name,Desired,Available:integer,Age", "", workloads.scale),
        r.POD_DISRUPTION_BUDGETS: _table("Name,Min Available,Max Unavailable,Allowed Disruptions,Age", "", workloads.pod_disruption_budget),
        r.SERVICES: _table("Name,Type,Cluster-IP,External-IP,Port(s),Age", "Selector", network.service),
        r.ENDPOINTS: _table("Name,Endpoints,Age", "", network.endpoints),
        r.ENDPOINT_SLICES: _table("Name,AddressType,Ports,Endpoints,Age", "", network.endpoint_slice),
        r.INGRESSES: _table("Name,Class,Hosts,Address,Ports,Age", "", network.ingress),
        r.INGRESS_CLASSES: _table("Name,Controller,Parameters,Age", "", network.ingress_class),
        r.NETWORK_POLICIES: _table("Name,Pod-Selector,Age", "", network.network_policy),
        r.SERVICE_CIDRS: _table("Name,CIDRs,Age", "", network.service_cidr),
        r.IP_ADDRESSES: _table("Name,ParentRef", "", network.ip_address),
        r.PERSISTENT_VOLUMES: _table(
            "Name,Capacity,Access Modes,Reclaim Policy,Status,Claim,StorageClass,VolumeAttributesClass,Reason,Age", "VolumeMode", storage.persistent_volume
        ),
        r.PERSISTENT_VOLUME_CLAIMS: _table(
            "Name,Status,Volume,Capacity,Access Modes,StorageClass,VolumeAttributesClass,Age", "VolumeMode", storage.persistent_volume_claim
        ),
        r.STORAGE_CLASSES: _table("Name,Provisioner,ReclaimPolicy,VolumeBindingMode,AllowVolumeExpansion,Age", "", storage.storage_class),
        r.VOLUME_ATTRIBUTES_CLASSES: _table("Name,DriverName,Age", "", storage.volume_attributes_class),
        r.VOLUME_ATTACHMENTS: _table("Name,Attacher,PV,Node,Attached,Age", "", storage.volume_attachment),
        r.CSI_DRIVERS: _table("Name,AttachRequired,PodInfoOnMount,StorageCapacity,TokenRequests,RequiresRepublish,Modes,Age", "", storage.csi_driver),
        r.CSI_NODES: _table("Name,Drivers,Age", "", storage.csi_node),
        r.CSI_STORAGE_CAPACITIES: _table("Name,StorageClassName,Capacity", "", storage.csi_storage_capacity),
        r.NODES: _table("Name,Status,Roles,Age,Version", "Internal-IP,External-IP,OS-Image,Kernel-Version,Container-Runtime", cluster.node),
        r.NAMESPACES: _table("Name,Status,Age", "", cluster.namespace),
        r.CONFIG_MAPS: _table("Name,Data,Age", "", cluster.config_map),
        r.SECRETS: _table("Name,Type,Data,Age", "", cluster.secret),
        r.SERVICE_ACCOUNTS: _table("Name,Secrets,Age", "", cluster.service_account),
        r.LIMIT_RANGES: _table("Name,Created At", "", cluster.name_and_creation),
        r.RESOURCE_QUOTAS: _table("Name,Request,Limit,Age", "", cluster.resource_quota),
        r.COMPONENT_STATUSES: _table("Name,Status,Message,Error", "", cluster.component_status),
        r.EVENTS: _event_table(cluster.event),
        r.EVENTS_V1: _event_table(cluster.event_v1),
        r.LEASES: _table("Name,Holder,Age", "", cluster.lease),
        r.PRIORITY_CLASSES: _table("Name,Value,Global-Default:boolean,Age,PreemptionPolicy", "", cluster.priority_class),
        r.RUNTIME_CLASSES: _table("Name,Handler,Age", "", cluster.runtime_class),
        r.ROLES: _table("Name,Created At", "", cluster.name_and_creation),
        r.CLUSTER_ROLES: _table("Name,Created At", "", cluster.name_and_creation),
        r.ROLE_BINDINGS: _table("Name,Role,Age", _SUBJECTS, cluster.role_binding),
        r.CLUSTER_ROLE_BINDINGS: _table("Name,Role,Age", _SUBJECTS, cluster.role_binding),
        r.CERTIFICATE_SIGNING_REQUESTS: _table("Name,Age,SignerName,Requestor,RequestedDuration,Condition", "", cluster.certificate_signing_request),
        r.CUSTOM_RESOURCE_DEFINITIONS: _table("Name,Created At", "", cluster.name_and_creation),
        r.API_SERVICES: _table("Name,Service,Available,Age", "", cluster.api_service),
        r.MUTATING_WEBHOOK_CONFIGURATIONS: _table("Name,Webhooks,Age", "", cluster.webhook_configuration),
        r.VALIDATING_WEBHOOK_CONFIGURATIONS: _table("Name,Webhooks,Age", "", cluster.webhook_configuration),
        r.VALIDATING_ADMISSION_POLICIES: _table("Name,Validations,ParamKind,Age", "", cluster.validating_admission_policy),
        r.VALIDATING_ADMISSION_POLICY_BINDINGS: _table("Name,PolicyName,ParamRef,Age", "", cluster.validating_admission_policy_binding),
        r.FLOW_SCHEMAS: _table("Name,PriorityLevel,MatchingPrecedence,DistinguisherMethod,Age,MissingPL", "", cluster.flow_schema),
        r.PRIORITY_LEVEL_CONFIGURATIONS: _table(
            "Name,Type,NominalConcurrencyShares,Queues,HandSize,QueueLengthLimit,Age", "", cluster.priority_level_configuration
        ),
        r.RESOURCE_CLAIMS: _table("Name,State,Age", "", cluster.resource_claim),
        r.RESOURCE_SLICES: _table("Name,Node,Driver,Pool,Age", "", cluster.resource_slice),
    }.items()
}
