"""What Endpoints and EndpointSlices share: which pods stand behind a Service, and at which port numbers."""

from collections.abc import Iterable, Mapping
from typing import Any

from k8sfromscratch.core.reconcile import objects
from k8sfromscratch.core.reconcile.plan import Object

LAST_CHANGE_TRIGGER = "endpoints.kubernetes.io/last-change-trigger-time"
HEADLESS = "service.kubernetes.io/headless"


def is_headless(service: Object) -> bool:
    return objects.spec(service).get("clusterIP") == "None"


def selects(service: Object, pod: Object) -> bool:
    """A Service without a selector selects nothing: somebody else fills its endpoints."""
    selector = objects.spec(service).get("selector") or {}
    labels = objects.labels(pod)
    return bool(selector) and all(labels.get(label) == value for label, value in selector.items())


def backends(service: Object, pods: Iterable[Object]) -> list[Object]:
    """The selected pods that have an address and have not finished, by name."""
    running = (p for p in pods if selects(service, p) and objects.status(p).get("podIP") and objects.status(p).get("phase") not in ("Succeeded", "Failed"))
    return sorted(running, key=objects.name)


def addresses(pod: Object, family: str) -> list[str]:
    """The pod's addresses of the family `IPv4` or `IPv6`."""
    status = objects.status(pod)
    every = [entry["ip"] for entry in status.get("podIPs") or ()] or [status["podIP"]]
    return [address for address in every if (":" in address) == (family == "IPv6")]


def families(service: Object) -> list[str]:
    """`spec.ipFamilies`; before dual-stack fields are filled in, the family of the cluster IP."""
    listed = objects.spec(service).get("ipFamilies")
    if listed:
        return list(listed)
    return ["IPv6" if ":" in (objects.spec(service).get("clusterIP") or "") else "IPv4"]


def ports(service: Object, pod: Object) -> list[dict[str, Any]]:
    """The Service's ports as this pod serves them: `name`, `protocol`, `port`, `appProtocol`.

    A named target port is looked up among the pod's containers (sidecars too); where the pod does not have it, it does not serve that port.
    """
    served = []
    for port in objects.spec(service).get("ports") or ():
        number = _target_number(port, pod)
        if number is None:
            continue
        entry = {"name": port.get("name", ""), "protocol": port.get("protocol", "TCP"), "port": number}
        if port.get("appProtocol"):
            entry["appProtocol"] = port["appProtocol"]
        served.append(entry)
    return served


def _target_number(port: Mapping[str, Any], pod: Object) -> int | None:
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target or port["port"]
    spec = objects.spec(pod)
    containers = [*(spec.get("containers") or ()), *(c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always")]
    for container in containers:
        for candidate in container.get("ports") or ():
            if candidate.get("name") == target and candidate.get("protocol", "TCP") == port.get("protocol", "TCP"):
                return candidate["containerPort"]
    return None


def hostname(service: Object, pod: Object) -> str:
    """The pod's own DNS label under the Service, if it asked for one there."""
    spec = objects.spec(pod)
    return spec["hostname"] if spec.get("hostname") and spec.get("subdomain") == objects.name(service) else ""


def target_reference(pod: Object) -> dict[str, str]:
    return {"kind": "Pod", "namespace": objects.namespace(pod), "name": objects.name(pod), "uid": objects.uid(pod)}


def last_change(service: Object, pods: Iterable[Object]) -> str:
    """When the youngest reason for these endpoints arose: the Service's creation or a pod's last change of readiness."""
    moments = [objects.created_at(service)]
    for pod in pods:
        ready = objects.condition(pod, "Ready")
        moments.append((ready or {}).get("lastTransitionTime") or objects.created_at(pod))
    return max(moments)


def service_labels(service: Object) -> dict[str, str]:
    """The Service's labels for its endpoints, with the mark of a headless one set or cleared."""
    labels = {label: value for label, value in objects.labels(service).items() if label != HEADLESS}
    return {**labels, HEADLESS: ""} if is_headless(service) else labels
