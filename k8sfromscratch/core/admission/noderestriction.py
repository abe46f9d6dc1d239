"""NodeRestriction: what a kubelet writes is about itself and the pods bound to it.

The Node authorizer judges by names; here the content is seen.  A kubelet that was taken over must not be able to draw other pods to
itself (labels, taints), speak for other nodes, or gain rights through pods and tokens that it makes up.

Source: plugin/pkg/admission/noderestriction.
"""

import base64
from collections.abc import Mapping, Sequence

from cryptography import x509

from k8sfromscratch.api import errors
from k8sfromscratch.api.registry import CSI_DRIVERS, NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS
from k8sfromscratch.core.admission.types import AdmissionRequest, Object, View
from k8sfromscratch.core.authz.node import LEASE_NAMESPACE, NODE_USER_PREFIX, NODES_GROUP
from k8sfromscratch.core.authz.node_graph import MIRROR_ANNOTATION, pod_references

# kubelet/pkg/apis/well_known_labels.go: what a kubelet may set of the kubernetes.io and k8s.io names.
_KUBELET_LABELS = frozenset({
    "kubernetes.io/hostname", "kubernetes.io/os", "kubernetes.io/arch", "beta.kubernetes.io/os", "beta.kubernetes.io/arch",
    "topology.kubernetes.io/zone", "topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/region",
    "node.kubernetes.io/instance-type", "beta.kubernetes.io/instance-type",
})  # fmt: skip
_KUBELET_LABEL_DOMAINS = ("kubelet.kubernetes.io", "node.kubernetes.io")
_RESTRICTED_DOMAIN = "node-restriction.kubernetes.io"

_NODE_SIGNERS = frozenset({"kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"})
_FORBIDDEN_IN_MIRRORS: Mapping[str, str] = {
    "serviceaccounts": "a service account",
    "secrets": "secrets",
    "configmaps": "configmaps",
    "persistentvolumeclaims": "persistentvolumeclaims",
    "resourceclaims": "resourceclaims",
}
# What resizing a volume changes.
_CLAIM_STATUS_FIELDS = frozenset({"capacity", "conditions", "allocatedResources", "allocatedResourceStatuses"})


class NodeRestriction:
    name = "NodeRestriction"

    def mutate(self, request: AdmissionRequest, view: View) -> None:
        return

    def validate(self, request: AdmissionRequest, view: View) -> None:
        user = request.user
        if NODES_GROUP not in user.groups or not user.name.startswith(NODE_USER_PREFIX) or request.operation == "CONNECT":
            return
        node = user.name.removeprefix(NODE_USER_PREFIX)
        if not node:
            raise _no(request, f'could not determine node from user "{user.name}"')
        match request.resource.group_resource, request.subresource:
            case "pods", "":
                _pod(request, node, view)
            case "pods", "status":
                _pod_status(request, node)
            case "pods", "eviction":
                _own_pod(request, node, view, "evict")
            case "pods", subresource:
                raise _no(request, f"unexpected pod subresource \"{subresource}\", only 'status' and 'eviction' are allowed")
            case "nodes", _:
                _node(request, node)
            case "persistentvolumeclaims", _:
                _claim(request, node)
            case "serviceaccounts", "token":
                _token(request, node, view)
            case "leases.coordination.k8s.io", _:
                if request.namespace != LEASE_NAMESPACE:
                    raise _no(request, f'can only access leases in the "{LEASE_NAMESPACE}" system namespace')
                _same_name(request, node, "node lease")
            case "csinodes.storage.k8s.io", _:
                _same_name(request, node, "CSINode")
            case "certificatesigningrequests.certificates.k8s.io", "":
                _signing_request(request, node)


def _pod(request: AdmissionRequest, node: str, view: View) -> None:
    if request.operation == "DELETE":
        _own_pod(request, node, view, "delete")
        return
    if request.operation != "CREATE" or request.obj is None:
        raise _no(request, f'unexpected operation "{request.operation}", node "{node}" can only create and delete mirror pods')
    pod = request.obj
    annotations = pod["metadata"].get("annotations") or {}
    if MIRROR_ANNOTATION not in annotations:
        raise _no(request, f'pod does not have "{MIRROR_ANNOTATION}" annotation, node "{node}" can only create mirror pods')
    if pod["spec"].get("nodeName") != node:
        raise _no(request, f'node "{node}" can only create pods with spec.nodeName set to itself')
    _owned_by_node(request, node, pod["metadata"].get("ownerReferences") or (), view)
    bare = {**pod, "metadata": {**pod["metadata"], "annotations": {}}}
    for plural, _, _ in pod_references(bare):
        raise _no(request, f'node "{node}" can not create pods that reference {_FORBIDDEN_IN_MIRRORS[plural]}')
    for volume in pod["spec"].get("volumes") or ():
        for source in (volume.get("projected") or {}).get("sources") or ():
            for kind in ("clusterTrustBundle", "serviceAccountToken", "podCertificate"):
                if kind in source:
                    raise _no(request, f'node "{node}" can not create pods with projected {kind} volumes')


def _owned_by_node(request: AdmissionRequest, node: str, owners: Sequence[Object], view: View) -> None:
    if len(owners) != 1:
        raise _no(request, f'node "{node}" can only create pods with a single owner reference set to itself')
    owner = owners[0]
    if (owner.get("apiVersion"), owner.get("kind"), owner.get("name")) != ("v1", "Node", node):
        raise _no(request, f'node "{node}" can only create pods with an owner reference set to itself')
    if not owner.get("controller"):
        raise _no(request, f'node "{node}" can only create pods with a controller owner reference set to itself')
    if owner.get("blockOwnerDeletion"):
        raise _no(request, f'node "{node}" must not set blockOwnerDeletion on an owner reference')
    known = view.get(NODES, node)
    if known is None:
        raise errors.not_found(NODES.plural, node)
    if owner.get("uid") != known["metadata"].get("uid"):
        raise _no(request, f"node {node} UID mismatch: expected {owner.get('uid')} got {known['metadata'].get('uid')}")


def _own_pod(request: AdmissionRequest, node: str, view: View, what: str) -> None:
    pod = request.old or view.get(PODS, request.name, request.namespace)
    if pod is None:
        raise errors.not_found(PODS.plural, request.name)
    if pod["spec"].get("nodeName") != node:
        raise _no(request, f'node "{node}" can only {what} pods with spec.nodeName set to itself')


def _pod_status(request: AdmissionRequest, node: str) -> None:
    if request.operation != "UPDATE" or request.obj is None or request.old is None:
        raise _no(request, f'unexpected operation "{request.operation}"')
    if request.old["spec"].get("nodeName") != node:
        raise _no(request, f'node "{node}" can only update pod status for pods with spec.nodeName set to itself')
    if (request.old["metadata"].get("labels") or {}) != (request.obj["metadata"].get("labels") or {}):
        raise _no(request, f'node "{node}" cannot update labels through pod status')
    claims = [(obj.get("status") or {}).get("resourceClaimStatuses") or [] for obj in (request.old, request.obj)]
    if claims[0] != claims[1]:
        raise _no(request, f'node "{node}" cannot update resource claim statuses')


def _node(request: AdmissionRequest, node: str) -> None:
    named = request.name or (request.obj or {}).get("metadata", {}).get("name", "")
    if named != node:
        raise _no(request, f'node "{node}" is not allowed to modify node "{named}"')
    new, old = request.obj, request.old
    if new is None or request.operation not in ("CREATE", "UPDATE"):
        return
    if (new.get("spec") or {}).get("configSource") and (new["spec"]["configSource"] != ((old or {}).get("spec") or {}).get("configSource")):
        raise _no(request, f'node "{node}" is not allowed to set a configSource')
    labels, old_labels = new["metadata"].get("labels") or {}, (old or {}).get("metadata", {}).get("labels") or {}
    changed = [key for key in {**labels, **old_labels} if labels.get(key) != old_labels.get(key)]
    refused = sorted(key for key in changed if not may_label(key))
    if refused:
        what = "set the following labels" if old is None else "modify labels"
        raise _no(request, f'node "{node}" is not allowed to {what}: {", ".join(refused)}')
    if old is None:
        return
    if ((new.get("spec") or {}).get("taints") or []) != ((old.get("spec") or {}).get("taints") or []):
        raise _no(request, f'node "{node}" is not allowed to modify taints')
    if (new["metadata"].get("ownerReferences") or []) != (old["metadata"].get("ownerReferences") or []):
        raise _no(request, f'node "{node}" is not allowed to modify ownerReferences')


def may_label(key: str) -> bool:
    """Whether a kubelet may set this label on its node."""
    domain, slash, _ = key.partition("/")
    if not slash:
        return True
    if _within(domain, _RESTRICTED_DOMAIN):
        return False
    if not (_within(domain, "kubernetes.io") or _within(domain, "k8s.io")):
        return True
    return key in _KUBELET_LABELS or any(_within(domain, allowed) for allowed in _KUBELET_LABEL_DOMAINS)


def _within(domain: str, parent: str) -> bool:
    return domain == parent or domain.endswith(f".{parent}")


def _claim(request: AdmissionRequest, node: str) -> None:
    if request.subresource != "status" or request.operation != "UPDATE" or request.obj is None or request.old is None:
        raise _no(request, "may only update PVC status")
    if _without_resize(request.obj) != _without_resize(request.old):
        raise _no(request, f'node "{node}" is not allowed to update fields other than status.capacity and status.conditions')


def _without_resize(claim: Object) -> Object:
    metadata = {key: value for key, value in claim["metadata"].items() if key not in ("resourceVersion", "managedFields")}
    status = {key: value for key, value in (claim.get("status") or {}).items() if key not in _CLAIM_STATUS_FIELDS}
    return {"metadata": metadata, "spec": claim.get("spec"), "status": status}


def _token(request: AdmissionRequest, node: str, view: View) -> None:
    """Tokens are for pods of the node, and for the audiences these ask for."""
    spec = (request.obj or {}).get("spec") or {}
    ref = spec.get("boundObjectRef") or {}
    if ref.get("apiVersion") != "v1" or ref.get("kind") != "Pod" or not ref.get("name"):
        raise _no(request, "node requested token not bound to a pod")
    if not ref.get("uid"):
        raise _no(request, "node requested token with a pod binding without a uid")
    pod = view.get(PODS, ref["name"], request.namespace)
    if pod is None:
        raise errors.not_found(PODS.plural, ref["name"])
    if pod["metadata"].get("uid") != ref["uid"]:
        raise _no(
            request,
            f"the UID in the bound object reference ({ref['uid']}) does not match the UID in record. The object might have been deleted and then recreated",
        )
    if pod["spec"].get("nodeName") != node:
        raise _no(request, "node requested token bound to a pod scheduled on a different node")
    audiences = spec.get("audiences") or [""]
    if len(audiences) > 1:
        raise _no(request, "node may only request 0 or 1 audiences")
    if audiences[0] and audiences[0] not in _pod_audiences(pod, view):
        raise _no(request, f'audience "{audiences[0]}" not found in pod spec volume')


def _pod_audiences(pod: Object, view: View) -> set[str]:
    """Those of its projected tokens, and those that the CSI drivers of its volumes want."""
    audiences: set[str] = set()
    for volume in pod["spec"].get("volumes") or ():
        for source in (volume.get("projected") or {}).get("sources") or ():
            audiences.add((source.get("serviceAccountToken") or {}).get("audience") or "")
        driver = view.get(CSI_DRIVERS, _driver(volume, pod, view))
        for wanted in ((driver or {}).get("spec") or {}).get("tokenRequests") or ():
            audiences.add(wanted.get("audience") or "")
    return audiences


def _driver(volume: Object, pod: Object, view: View) -> str:
    """The CSI driver behind a pod's volume; empty where there is none."""
    if "csi" in volume:
        return str(volume["csi"].get("driver", ""))
    name = (volume.get("persistentVolumeClaim") or {}).get("claimName") or (f"{pod['metadata']['name']}-{volume['name']}" if "ephemeral" in volume else "")
    claim = view.get(PERSISTENT_VOLUME_CLAIMS, name, pod["metadata"]["namespace"]) if name else None
    bound = ((claim or {}).get("spec") or {}).get("volumeName")
    persistent = view.get(PERSISTENT_VOLUMES, bound) if bound else None
    return str((((persistent or {}).get("spec") or {}).get("csi") or {}).get("driver", ""))


def _same_name(request: AdmissionRequest, node: str, what: str) -> None:
    named = request.name or (request.obj or {}).get("metadata", {}).get("name", "")
    if named != node:
        raise _no(request, f"can only access {what} with the same name as the requesting node")


def _signing_request(request: AdmissionRequest, node: str) -> None:
    spec = (request.obj or {}).get("spec") or {}
    if request.operation != "CREATE" or spec.get("signerName") not in _NODE_SIGNERS:
        return
    if _csr_common_name(request, spec.get("request", "")) != NODE_USER_PREFIX + node:
        raise _no(request, f"can only create a node CSR with CN={NODE_USER_PREFIX}{node}")


def _csr_common_name(request: AdmissionRequest, encoded: str) -> str:
    try:
        parsed = x509.load_pem_x509_csr(base64.b64decode(encoded))
    except ValueError as error:
        raise _no(request, f"unable to parse csr: {error}") from error
    names = parsed.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    # Of several the last is the user that the certificate will speak for.
    return str(names[-1].value) if names else ""


def _no(request: AdmissionRequest, why: str) -> errors.Forbidden:
    name = request.name or (request.obj or {}).get("metadata", {}).get("name", "")
    return errors.forbidden(request.resource.plural, name, request.resource.group, why)
