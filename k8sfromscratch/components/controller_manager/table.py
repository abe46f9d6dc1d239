"""All controllers there are, by upstream's names, and which of them `--controllers` turns on."""

from collections.abc import Callable, Mapping

from k8sfromscratch.components.controller_manager.controller import Context, Controller
from k8sfromscratch.components.controller_manager.controllers.certificates import (
    csr_approving_controller,
    csr_cleaner_controller,
    csr_signing_controller,
)
from k8sfromscratch.components.controller_manager.controllers.disruption import disruption_controller
from k8sfromscratch.components.controller_manager.controllers.garbage import garbage_collector_controller
from k8sfromscratch.components.controller_manager.controllers.jobs import cronjob_controller, job_controller, ttl_after_finished_controller
from k8sfromscratch.components.controller_manager.controllers.namespaces import namespace_controller, root_ca_controller, serviceaccount_controller
from k8sfromscratch.components.controller_manager.controllers.nodes import (
    node_ipam_controller,
    node_lifecycle_controller,
    pod_gc_controller,
    taint_eviction_controller,
)
from k8sfromscratch.components.controller_manager.controllers.quotas import resourcequota_controller
from k8sfromscratch.components.controller_manager.controllers.rbac import clusterrole_aggregation_controller
from k8sfromscratch.components.controller_manager.controllers.services import (
    endpoints_controller,
    endpointslice_controller,
    endpointslice_mirroring_controller,
)
from k8sfromscratch.components.controller_manager.controllers.tokens import serviceaccount_token_controller
from k8sfromscratch.components.controller_manager.controllers.volumes import pv_protection_controller, pvc_protection_controller, vac_protection_controller
from k8sfromscratch.components.controller_manager.controllers.workloads import (
    daemonset_controller,
    deployment_controller,
    replicaset_controller,
    replicationcontroller_controller,
    statefulset_controller,
)
from k8sfromscratch.components.controller_manager.options import ALL, Options

CONTROLLERS: Mapping[str, Callable[[Context], Controller]] = {
    "namespace-controller": namespace_controller,
    "serviceaccount-controller": serviceaccount_controller,
    "serviceaccount-token-controller": serviceaccount_token_controller,
    "root-ca-certificate-publisher-controller": root_ca_controller,
    "clusterrole-aggregation-controller": clusterrole_aggregation_controller,
    "deployment-controller": deployment_controller,
    "replicaset-controller": replicaset_controller,
    "replicationcontroller-controller": replicationcontroller_controller,
    "endpointslice-controller": endpointslice_controller,
    "endpointslice-mirroring-controller": endpointslice_mirroring_controller,
    "endpoints-controller": endpoints_controller,
    "daemonset-controller": daemonset_controller,
    "statefulset-controller": statefulset_controller,
    "job-controller": job_controller,
    "cronjob-controller": cronjob_controller,
    "resourcequota-controller": resourcequota_controller,
    "disruption-controller": disruption_controller,
    "persistentvolumeclaim-protection-controller": pvc_protection_controller,
    "persistentvolume-protection-controller": pv_protection_controller,
    "volumeattributesclass-protection-controller": vac_protection_controller,
    "certificatesigningrequest-approving-controller": csr_approving_controller,
    "certificatesigningrequest-signing-controller": csr_signing_controller,
    "certificatesigningrequest-cleaner-controller": csr_cleaner_controller,
    "node-ipam-controller": node_ipam_controller,
    "node-lifecycle-controller": node_lifecycle_controller,
    "taint-eviction-controller": taint_eviction_controller,
    "pod-garbage-collector-controller": pod_gc_controller,
    "ttl-after-finished-controller": ttl_after_finished_controller,
    "garbage-collector-controller": garbage_collector_controller,
}

ALIASES: Mapping[str, str] = {
    "namespace": "namespace-controller",
    "serviceaccount": "serviceaccount-controller",
    "serviceaccount-token": "serviceaccount-token-controller",
    "root-ca-cert-publisher": "root-ca-certificate-publisher-controller",
    "clusterrole-aggregation": "clusterrole-aggregation-controller",
    "deployment": "deployment-controller",
    "replicaset": "replicaset-controller",
    "replicationcontroller": "replicationcontroller-controller",
    "endpointslice": "endpointslice-controller",
    "endpointslicemirroring": "endpointslice-mirroring-controller",
    "endpoint": "endpoints-controller",
    "daemonset": "daemonset-controller",
    "statefulset": "statefulset-controller",
    "job": "job-controller",
    "cronjob": "cronjob-controller",
    "resourcequota": "resourcequota-controller",
    "disruption": "disruption-controller",
    "pvc-protection": "persistentvolumeclaim-protection-controller",
    "pv-protection": "persistentvolume-protection-controller",
    "csrapproving": "certificatesigningrequest-approving-controller",
    "csrsigning": "certificatesigningrequest-signing-controller",
    "csrcleaner": "certificatesigningrequest-cleaner-controller",
    "nodeipam": "node-ipam-controller",
    "nodelifecycle": "node-lifecycle-controller",
    "podgc": "pod-garbage-collector-controller",
    "ttl-after-finished": "ttl-after-finished-controller",
    "garbagecollector": "garbage-collector-controller",
}
"""The names that upstream used before v1.28 and still takes."""


class UnknownController(ValueError):
    pass


def enabled(options: Options) -> list[str]:
    """The controllers to run, in the table's order.  Raises UnknownController.

    As upstream: an explicit name wins over `*`, and some run only where they have been given what they need.
    """
    on: set[str] = set()
    off: set[str] = set()
    for wish in options.controllers:
        if wish == ALL:
            continue
        name = ALIASES.get(wish.removeprefix("-"), wish.removeprefix("-"))
        if name not in CONTROLLERS:
            raise UnknownController(f"there is no controller {name!r}; there are: {', '.join(CONTROLLERS)}")
        (off if wish.startswith("-") else on).add(name)
    if not options.pools:
        off.add("node-ipam-controller")
    if not options.root_ca:
        off.add("root-ca-certificate-publisher-controller")
    if options.signer is None:
        off.add("certificatesigningrequest-signing-controller")
    return [name for name in CONTROLLERS if name not in off and (name in on or ALL in options.controllers)]
