"""Questions about a pod's specification that several decisions ask.

Containers are of three kinds.  Regular ones run side by side.  Init containers run one after another before them.  Init
containers with `restartPolicy: Always` are sidecars (KEP-753): they start in the order of the init containers, stay, are
restarted whatever the pod's policy says, and end after the regular ones.
"""

import hashlib
from typing import Any

Object = dict[str, Any]

DEFAULT_GRACE_S = 30


def regular_containers(pod: Object) -> list[Object]:
    return list(pod.get("spec", {}).get("containers") or [])


def init_containers(pod: Object) -> list[Object]:
    """Sidecars included, in their order."""
    return list(pod.get("spec", {}).get("initContainers") or [])


def is_sidecar(container: Object) -> bool:
    """Of an init container."""
    return container.get("restartPolicy") == "Always"


def sidecars(pod: Object) -> list[Object]:
    return [c for c in init_containers(pod) if is_sidecar(c)]


def all_containers(pod: Object) -> list[Object]:
    return init_containers(pod) + regular_containers(pod)


def find_container(pod: Object, name: str) -> Object | None:
    return next((c for c in all_containers(pod) if c["name"] == name), None)


def restart_policy(pod: Object) -> str:
    return str(pod.get("spec", {}).get("restartPolicy") or "Always")


def container_policy(pod: Object, container: Object) -> str:
    """The restart policy that holds for one container: an init container has done its part once it succeeded, a sidecar never has."""
    policy = restart_policy(pod)
    if all(c is not container and c["name"] != container["name"] for c in init_containers(pod)):
        return policy
    if is_sidecar(container):
        return "Always"
    return "OnFailure" if policy == "Always" else policy


def restarts_after(policy: str, exit_code: int) -> bool:
    """Whether a container that ended so is started again."""
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)


def spec_hash(container: Object) -> str:
    """Changes when a running container must be replaced: of a pod's containers only the image may change."""
    return hashlib.sha256(f"{container['name']}\0{container.get('image', '')}".encode()).hexdigest()[:8]


def is_deleting(pod: Object) -> bool:
    return bool(pod.get("metadata", {}).get("deletionTimestamp"))


def is_terminal(pod: Object) -> bool:
    """The phase that ends a pod was reached: it never runs again."""
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def grace_s(pod: Object) -> int:
    """How long the pod's processes have between SIGTERM and SIGKILL: the deletion's, else the pod's own."""
    deletion = pod.get("metadata", {}).get("deletionGracePeriodSeconds")
    if is_deleting(pod) and deletion is not None:
        return int(deletion)
    own = pod.get("spec", {}).get("terminationGracePeriodSeconds")
    return DEFAULT_GRACE_S if own is None else int(own)


def on_host_network(pod: Object) -> bool:
    return bool(pod.get("spec", {}).get("hostNetwork"))


def pod_key(pod: Object) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
