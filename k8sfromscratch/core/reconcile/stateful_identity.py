"""What makes a pod the n-th of its StatefulSet: its name, its labels, its place in DNS, its claims.

web-2    hostname web-2, subdomain = spec.serviceName, claim data-web-2 for the template `data`
"""

import copy
import re
from collections.abc import Mapping
from typing import Any

from k8sfromscratch.api.registry import PERSISTENT_VOLUME_CLAIMS, PODS, STATEFUL_SETS
from k8sfromscratch.core.reconcile import objects
from k8sfromscratch.core.reconcile.history import REVISION_HASH
from k8sfromscratch.core.reconcile.plan import Create, Emit, Object, Patch, Step

POD_NAME = "statefulset.kubernetes.io/pod-name"
POD_INDEX = "apps.kubernetes.io/pod-index"
_ORDINAL = re.compile(r"-(0|[1-9][0-9]*)\Z")


def ordinal(stateful_set: Object, pod: Object) -> int | None:
    """None: it has the set's labels but not one of its names."""
    found = _ORDINAL.search(objects.name(pod))
    return int(found[1]) if found and objects.name(pod)[: found.start()] == objects.name(stateful_set) else None


def first_ordinal(stateful_set: Object) -> int:
    return (objects.spec(stateful_set).get("ordinals") or {}).get("start", 0)


def pod_of(stateful_set: Object, index: int, revision_name: str, template: Mapping[str, Any]) -> Object:
    name = f"{objects.name(stateful_set)}-{index}"
    pod = objects.pod_from_template(template, STATEFUL_SETS, stateful_set)
    del pod["metadata"]["generateName"]
    pod["metadata"]["name"] = name
    pod["metadata"]["labels"] = {**pod["metadata"].get("labels", {}), POD_NAME: name, POD_INDEX: str(index), REVISION_HASH: revision_name}
    spec = pod["spec"]
    spec["hostname"] = name
    if objects.spec(stateful_set).get("serviceName"):
        spec["subdomain"] = objects.spec(stateful_set)["serviceName"]
    names = [claim["metadata"]["name"] for claim in objects.spec(stateful_set).get("volumeClaimTemplates") or ()]
    claims = {volume: claim_name(stateful_set, index, volume) for volume in names}
    if claims:
        others = [volume for volume in spec.get("volumes") or () if volume["name"] not in claims]
        spec["volumes"] = others + [{"name": volume, "persistentVolumeClaim": {"claimName": claim}} for volume, claim in claims.items()]
    return pod


def claim_name(stateful_set: Object, index: int, template_name: str) -> str:
    return f"{template_name}-{objects.name(stateful_set)}-{index}"


def claims_of(stateful_set: Object, index: int) -> list[Object]:
    """The claims of one pod.  By default they outlive it and the set: they hold data."""
    claims = []
    for template in objects.spec(stateful_set).get("volumeClaimTemplates") or ():
        wanted = template["metadata"]
        labels = {**(wanted.get("labels") or {}), **((objects.spec(stateful_set).get("selector") or {}).get("matchLabels") or {})}
        metadata: dict[str, Any] = {"name": claim_name(stateful_set, index, wanted["name"]), "namespace": objects.namespace(stateful_set), "labels": labels}
        if wanted.get("annotations"):
            metadata["annotations"] = dict(wanted["annotations"])
        if _retention(stateful_set).get("whenDeleted") == "Delete":
            metadata["ownerReferences"] = [_reference(STATEFUL_SETS.api_version, "StatefulSet", stateful_set)]
        spec = copy.deepcopy(template.get("spec") or {})
        claims.append({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec})
    return claims


def creation(stateful_set: Object, index: int, pod: Object, claims: Mapping[str, Object]) -> list[Step]:
    """The claims that are missing among `claims` (by name), then the pod."""
    owner = objects.name(stateful_set)
    steps: list[Step] = []
    for claim in claims_of(stateful_set, index):
        name = objects.name(claim)
        if name in claims:
            continue
        text = f"Claim {name} Pod {objects.name(pod)} in StatefulSet {owner}"
        done = Emit(stateful_set, "Normal", "SuccessfulCreate", f"create {text} success")
        failed = Emit(stateful_set, "Warning", "FailedCreate", f"create {text} failed error: {{error}}")
        steps.append(Create(PERSISTENT_VOLUME_CLAIMS, claim, done, failed, ignore=frozenset({"AlreadyExists"})))
    text = f"Pod {objects.name(pod)} in StatefulSet {owner}"
    done = Emit(stateful_set, "Normal", "SuccessfulCreate", f"create {text} successful")
    failed = Emit(stateful_set, "Warning", "FailedCreate", f"create {text} failed error: {{error}}")
    return [*steps, Create(PODS, pod, done, failed)]


def released_claims(stateful_set: Object, index: int, pod: Object, claims: Mapping[str, Object]) -> list[Step]:
    """With `whenScaled: Delete` the claims of a pod that is scaled away become its property, and go with it."""
    if _retention(stateful_set).get("whenScaled") != "Delete":
        return []
    steps: list[Step] = []
    for template in objects.spec(stateful_set).get("volumeClaimTemplates") or ():
        claim = claims.get(claim_name(stateful_set, index, template["metadata"]["name"]))
        if claim is None or any(reference["uid"] == objects.uid(pod) for reference in objects.owner_references(claim)):
            continue
        references = [*objects.owner_references(claim), _reference("v1", "Pod", pod)]
        patch = {"metadata": {"uid": objects.uid(claim), "resourceVersion": claim["metadata"]["resourceVersion"], "ownerReferences": references}}
        steps.append(Patch(PERSISTENT_VOLUME_CLAIMS, objects.namespace(claim), objects.name(claim), patch))
    return steps


def _retention(stateful_set: Object) -> dict[str, str]:
    return objects.spec(stateful_set).get("persistentVolumeClaimRetentionPolicy") or {}


def _reference(api_version: str, kind: str, owner: Object) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "name": objects.name(owner), "uid": objects.uid(owner)}
