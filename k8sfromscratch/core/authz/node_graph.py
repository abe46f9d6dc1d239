"""What each node needs: the secrets, config maps, claims, … that the pods bound to it refer to.

    node <── pod <── secret, configmap, serviceaccount, persistentvolumeclaim, resourceclaim
                         persistentvolumeclaim <── persistentvolume <── secret (of its CSI driver)
    node <── volumeattachment

Kept by counting: each reference knows how many pods of which node hold it, so a question costs one look-up however many pods there are.
"""

from collections.abc import Iterator
from typing import Any

from k8sfromscratch.api.registry import PERSISTENT_VOLUMES, PODS, VOLUME_ATTACHMENTS
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.core.authz.view import CachedView

Object = dict[str, Any]
Ref = tuple[str, str, str]
"""(plural, namespace, name)."""

MIRROR_ANNOTATION = "kubernetes.io/config.mirror"


class NodeGraph:
    """Follows one view for its whole life."""

    def __init__(self) -> None:
        self._marks: dict[Resource, object | None] = dict.fromkeys((PODS, PERSISTENT_VOLUMES, VOLUME_ATTACHMENTS))
        self._seen: tuple[int, ...] = ()
        self._pods: dict[str, tuple[str, tuple[Ref, ...]]] = {}
        self._holders: dict[Ref, dict[str, int]] = {}
        self._volumes: dict[str, tuple[Ref, tuple[Ref, ...]]] = {}
        self._volumes_of: dict[Ref, set[str]] = {}
        self._attachments: dict[str, str] = {}

    def follow(self, view: CachedView) -> None:
        seen = tuple([view.changes(resource) for resource in self._marks])
        if seen == self._seen:
            return
        for resource, mark in self._marks.items():
            delta = view.delta(resource, mark)
            if delta.reset:
                for key in self._keys(resource):
                    self._put(resource, key, None)
            for key, obj in delta.changed:
                self._put(resource, key, obj)
            self._marks[resource] = delta.mark
        self._seen = seen

    def runs(self, node: str, namespace: str, pod: str) -> bool:
        held = self._pods.get(f"{namespace}/{pod}")
        return held is not None and held[0] == node

    def needs(self, node: str, plural: str, namespace: str, name: str) -> bool:
        """Whether a pod on the node refers to the object, by itself or through its volumes."""
        if plural == VOLUME_ATTACHMENTS.plural:
            return self._attachments.get(name) == node
        if plural == PERSISTENT_VOLUMES.plural:
            volume = self._volumes.get(name)
            return volume is not None and node in self._holders.get(volume[0], ())
        ref = (plural, namespace, name)
        if node in self._holders.get(ref, ()):
            return True
        return any(node in self._holders.get(self._volumes[volume][0], ()) for volume in self._volumes_of.get(ref, ()))

    def _keys(self, resource: Resource) -> list[str]:
        if resource is PODS:
            return list(self._pods)
        return list(self._volumes if resource is PERSISTENT_VOLUMES else self._attachments)

    def _put(self, resource: Resource, key: str, obj: Object | None) -> None:
        if resource is PODS:
            self._put_pod(key, obj)
        elif resource is PERSISTENT_VOLUMES:
            self._put_volume(key, obj)
        elif obj is None:
            self._attachments.pop(key, None)
        else:
            self._attachments[key] = (obj.get("spec") or {}).get("nodeName", "")

    def _put_pod(self, key: str, pod: Object | None) -> None:
        node = "" if pod is None else (pod.get("spec") or {}).get("nodeName") or ""
        refs = tuple(dict.fromkeys(pod_references(pod))) if pod is not None and node else ()
        old = self._pods.pop(key, None)
        if old is not None:
            for ref in old[1]:
                counts = self._holders[ref]
                counts[old[0]] -= 1
                if not counts[old[0]]:
                    del counts[old[0]]
                if not counts:
                    del self._holders[ref]
        if node:
            self._pods[key] = (node, refs)
            for ref in refs:
                counts = self._holders.setdefault(ref, {})
                counts[node] = counts.get(node, 0) + 1

    def _put_volume(self, key: str, volume: Object | None) -> None:
        old = self._volumes.pop(key, None)
        if old is not None:
            for ref in old[1]:
                self._volumes_of[ref].discard(key)
                if not self._volumes_of[ref]:
                    del self._volumes_of[ref]
        claim = ((volume or {}).get("spec") or {}).get("claimRef")
        if volume is None or not claim:
            return
        refs = tuple(dict.fromkeys(_secrets_of_source(volume["spec"], claim.get("namespace", ""))))
        self._volumes[key] = (("persistentvolumeclaims", claim.get("namespace", ""), claim.get("name", "")), refs)
        for ref in refs:
            self._volumes_of.setdefault(ref, set()).add(key)


def pod_references(pod: Object) -> Iterator[Ref]:
    """The objects a pod names.  A mirror pod names none: a node writes those itself, and must not so gain rights."""
    if MIRROR_ANNOTATION in (pod["metadata"].get("annotations") or {}):
        return
    namespace, spec = pod["metadata"].get("namespace") or "", pod.get("spec") or {}
    if account := spec.get("serviceAccountName"):
        yield "serviceaccounts", namespace, account
    for secret in spec.get("imagePullSecrets") or ():
        yield "secrets", namespace, secret.get("name", "")
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(kind) or ():
            yield from _container_references(container, namespace)
    for volume in spec.get("volumes") or ():
        yield from _volume_references(volume, namespace, pod["metadata"]["name"])
    for claim in spec.get("resourceClaims") or ():
        if name := claim.get("resourceClaimName"):
            yield "resourceclaims", namespace, name
    for claim in (pod.get("status") or {}).get("resourceClaimStatuses") or ():
        if name := claim.get("resourceClaimName"):
            yield "resourceclaims", namespace, name


def _container_references(container: Object, namespace: str) -> Iterator[Ref]:
    for source in container.get("envFrom") or ():
        if "secretRef" in source:
            yield "secrets", namespace, source["secretRef"].get("name", "")
        if "configMapRef" in source:
            yield "configmaps", namespace, source["configMapRef"].get("name", "")
    for variable in container.get("env") or ():
        source = variable.get("valueFrom") or {}
        if "secretKeyRef" in source:
            yield "secrets", namespace, source["secretKeyRef"].get("name", "")
        if "configMapKeyRef" in source:
            yield "configmaps", namespace, source["configMapKeyRef"].get("name", "")


def _volume_references(volume: Object, namespace: str, pod_name: str) -> Iterator[Ref]:
    if "configMap" in volume:
        yield "configmaps", namespace, volume["configMap"].get("name", "")
    if "persistentVolumeClaim" in volume:
        yield "persistentvolumeclaims", namespace, volume["persistentVolumeClaim"].get("claimName", "")
    if "ephemeral" in volume:
        yield "persistentvolumeclaims", namespace, f"{pod_name}-{volume['name']}"
    for source in (volume.get("projected") or {}).get("sources") or ():
        if "secret" in source:
            yield "secrets", namespace, source["secret"].get("name", "")
        if "configMap" in source:
            yield "configmaps", namespace, source["configMap"].get("name", "")
    yield from _secrets_of_source(volume, namespace)


def _secrets_of_source(volume: Object, namespace: str) -> Iterator[Ref]:
    """Every kind of volume names its secrets as `secretName` or as a `…secretRef` of its own."""
    for source in volume.values():
        if not isinstance(source, dict):
            continue
        if name := source.get("secretName"):
            yield "secrets", source.get("secretNamespace") or namespace, name
        for field, value in source.items():
            if field.lower().endswith("secretref") and isinstance(value, dict) and value.get("name"):
                yield "secrets", value.get("namespace") or namespace, value["name"]
