"""Pods and pod templates: what a manifest may leave out.

A Pod gets all of it; a template (Deployment, Job, …) only what belongs to the spec, since the rest is decided when the pod is made.
"""

from decimal import Decimal
from functools import lru_cache

from k8sfromscratch.api.defaults import volumes
from k8sfromscratch.api.defaults.fill import Object, child, if_absent, if_empty, objects
from k8sfromscratch.api.quantity import canonical_quantity, format_quantity, parse_quantity

GRACE_PERIOD_S = 30


def pod(obj: Object) -> None:
    spec = child(obj, "spec")
    pod_spec(spec)
    for container in objects(spec, "initContainers", "containers"):
        _requests_from_limits(container.get("resources") or {})
        if spec.get("hostNetwork"):
            for port in objects(container, "ports"):
                if_empty(port, hostPort=port.get("containerPort", 0))
    if spec.get("resources"):
        _pod_requests(spec)
    if_absent(spec, enableServiceLinks=True)


def pod_template(owner: Object) -> None:
    """`owner` has a `template`."""
    pod_spec(child(child(owner, "template"), "spec"))


def pod_spec(spec: Object) -> None:
    if_empty(spec, dnsPolicy="ClusterFirst", restartPolicy="Always", schedulerName="default-scheduler")
    if_absent(spec, securityContext={}, terminationGracePeriodSeconds=GRACE_PERIOD_S)
    for one in objects(spec, "initContainers", "containers", "ephemeralContainers"):
        container(one)
    for volume in objects(spec, "volumes"):
        volumes.volume(volume)
    _resource_lists(spec.get("resources") or {})
    if "overhead" in spec:
        _round_to_milli(spec["overhead"])
    service_account_alias(spec)


def service_account_alias(spec: Object) -> None:
    """`serviceAccount` is the old name of `serviceAccountName`; both are always shown, and equal."""
    name = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if name:
        spec["serviceAccountName"] = spec["serviceAccount"] = name


def container(of: Object) -> None:
    if_empty(
        of,
        imagePullPolicy=pull_policy(of.get("image") or ""),
        terminationMessagePath="/dev/termination-log",
        terminationMessagePolicy="File",
    )
    _resource_lists(child(of, "resources"))
    for port in objects(of, "ports"):
        if_empty(port, protocol="TCP")
    for variable in objects(of, "env"):
        source = variable.get("valueFrom") or {}
        if "fieldRef" in source:
            if_empty(source["fieldRef"], apiVersion="v1")
        if "resourceFieldRef" in source:
            if_absent(source["resourceFieldRef"], divisor="0")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if name in of:
            _probe(of[name])
    for handler in (of.get("lifecycle") or {}).values():
        if isinstance(handler, dict):
            _http_get(handler)


def pull_policy(image: str) -> str:
    """`latest`, said or meant, is always pulled; a digest cannot change."""
    name, _, digest = image.partition("@")
    tag = name.rsplit("/", 1)[-1].partition(":")[2]
    return "Always" if tag == "latest" or not (tag or digest) else "IfNotPresent"


def _probe(probe: Object) -> None:
    if_empty(probe, timeoutSeconds=1, periodSeconds=10, successThreshold=1, failureThreshold=3)
    _http_get(probe)
    if "grpc" in probe:
        if_absent(probe["grpc"], service="")


def _http_get(handler: Object) -> None:
    if "httpGet" in handler:
        if_empty(handler["httpGet"], path="/", scheme="HTTP")


def _resource_lists(resources: Object) -> None:
    for key in ("limits", "requests"):
        if key in resources:
            _round_to_milli(resources[key])


def _round_to_milli(amounts: Object) -> None:
    for name, amount in amounts.items():
        rounded = _rounded_to_milli(str(amount))
        if rounded is not None:
            amounts[name] = rounded


@lru_cache(maxsize=4096)
def _rounded_to_milli(amount: str) -> str | None:
    """None where nothing is to be rounded."""
    exact = parse_quantity(amount)
    rest = (exact * 1000) % 1
    if not rest:
        return None
    return format_quantity((exact * 1000 - rest + (1 if rest > 0 else -1)) / 1000)


def _requests_from_limits(resources: Object) -> None:
    for name, limit in (resources.get("limits") or {}).items():
        child(resources, "requests").setdefault(name, limit)


_POD_LEVEL = ("cpu", "memory")


def _pod_requests(spec: Object) -> None:
    """Requests of the pod as a whole (KEP-2837): the sum of its containers' where they name any, else the pod's limit."""
    resources = spec["resources"]
    limits = resources.get("limits") or {}
    if not limits and not resources.get("requests"):
        return
    for name in (*_POD_LEVEL, *(key for key in limits if key.startswith("hugepages-"))):
        if name in (resources.get("requests") or {}):
            continue
        asked = [(one.get("resources") or {}).get("requests", {}).get(name) for one in spec.get("containers") or ()]
        amounts = [parse_quantity(amount) for amount in asked if amount is not None]
        if amounts:
            form = "BinarySI" if name != "cpu" else "DecimalSI"
            child(resources, "requests")[name] = canonical_quantity(format_quantity(sum(amounts, Decimal(0)), form))  # type: ignore[arg-type]
        elif name in limits:
            child(resources, "requests")[name] = limits[name]
