"""Containers: image, ports, environment, mounts, resources, probes.

Source: validateContainerCommon and what it calls in pkg/apis/core/validation.
"""

from collections.abc import Mapping
from typing import Any

from k8sfromscratch.api import names
from k8sfromscratch.api.errors import Cause
from k8sfromscratch.api.quantity import parse_quantity
from k8sfromscratch.api.validation.field import (
    NOT_NEGATIVE,
    Object,
    checked,
    duplicates,
    forbidden,
    indexed,
    invalid,
    not_found,
    not_negative,
    one_of,
    optional_one_of,
    required,
    required_and_checked,
)
from k8sfromscratch.api.validation.security import container_security

PROTOCOLS = ("SCTP", "TCP", "UDP")

_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_RESTART_POLICIES = ("Always", "Never", "OnFailure")
_MESSAGE_POLICIES = ("File", "FallbackToLogsOnError")
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
_LIFECYCLE_HANDLERS = ("exec", "httpGet", "tcpSocket", "sleep")
_FIELDS = frozenset(
    {
        "metadata.name", "metadata.namespace", "metadata.uid", "metadata.labels", "metadata.annotations", "spec.nodeName", "spec.restartPolicy",
        "spec.serviceAccountName", "spec.schedulerName", "status.phase", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
    }
)  # fmt: skip
_ENV_FIELDS = (
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
    "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip
_RESOURCE_FIELDS = ("limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory")
# resource → the divisors it may be shown in
_DIVISORS: Mapping[str, tuple[str, ...]] = {
    "cpu": ("1m", "1"),
    "memory": ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"),
}
_ENV_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")
_STANDARD_RESOURCES = frozenset({"cpu", "memory", "ephemeral-storage"})
COUNTED_RESOURCES = frozenset(
    {
        "pods", "services", "replicationcontrollers", "resourcequotas", "secrets", "configmaps", "persistentvolumeclaims", "services.nodeports",
        "services.loadbalancers",
    }
)  # fmt: skip
QUOTA_RESOURCES = (
    frozenset({"storage", "requests.storage"})
    | COUNTED_RESOURCES
    | {name if not prefix else f"{prefix}.{name}" for prefix in ("", "requests", "limits") for name in _STANDARD_RESOURCES}
)
"""What a ResourceQuota may name without a domain."""

Volumes = Mapping[str, Object]
"""By name."""


def containers(spec: Object, path: str, volumes: Volumes) -> list[Cause]:
    if not spec.get("containers"):
        return [required(f"{path}.containers")]
    causes: list[Cause] = []
    for at, one in indexed(spec, "containers", path):
        causes += _container(one, at, volumes) + _probes(one, at) + _lifecycle(one, at)
        causes += optional_one_of(f"{at}.restartPolicy", one.get("restartPolicy"), _RESTART_POLICIES)
    return causes


def init_containers(spec: Object, path: str, volumes: Volumes) -> list[Cause]:
    causes: list[Cause] = []
    for at, one in indexed(spec, "initContainers", path):
        causes += _container(one, at, volumes)
        causes += optional_one_of(f"{at}.restartPolicy", one.get("restartPolicy"), _RESTART_POLICIES)
        if one.get("restartPolicy") == "Always":
            causes += _probes(one, at) + _lifecycle(one, at)
            continue
        only = "may not be set for init containers without restartPolicy=Always"
        causes += [forbidden(f"{at}.{key}", only) for key in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe") if key in one]
    return causes


def ephemeral_containers(spec: Object, path: str, volumes: Volumes) -> list[Cause]:
    barred = ("ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle")
    causes: list[Cause] = []
    present = {one.get("name") for key in ("containers", "initContainers") for one in spec.get(key) or ()}
    for at, one in indexed(spec, "ephemeralContainers", path):
        causes += _container({key: value for key, value in one.items() if key not in barred}, at, volumes)
        causes += [forbidden(f"{at}.{key}", "cannot be set for an Ephemeral Container") for key in barred if one.get(key)]
        if one.get("resources"):
            causes.append(forbidden(f"{at}.resources", "cannot be set for an Ephemeral Container"))
        if one.get("targetContainerName") and one["targetContainerName"] not in present:
            causes.append(not_found(f"{at}.targetContainerName", one["targetContainerName"]))
    return causes


def names_are_unique(spec: Object, path: str) -> list[Cause]:
    keys = ("containers", "initContainers", "ephemeralContainers")
    return duplicates((f"{at}.name", one.get("name", "")) for key in keys for at, one in indexed(spec, key, path))


def host_ports_are_unique(spec: Object, path: str) -> list[Cause]:
    return duplicates(
        (f"{at_port}.hostPort", f"{port.get('protocol', 'TCP')}/{port.get('hostIP', '')}/{port['hostPort']}")
        for at, one in indexed(spec, "containers", path)
        for at_port, port in indexed(one, "ports", at)
        if port.get("hostPort")
    )


def _container(one: Object, path: str, volumes: Volumes) -> list[Cause]:
    causes = required_and_checked(f"{path}.name", one.get("name"), names.dns_label)
    image = one.get("image", "")
    if not image:
        causes.append(required(f"{path}.image"))
    elif image != image.strip():
        causes.append(invalid(f"{path}.image", image, "must not have leading or trailing whitespace"))
    causes += one_of(f"{path}.terminationMessagePolicy", one.get("terminationMessagePolicy"), _MESSAGE_POLICIES)
    causes += one_of(f"{path}.imagePullPolicy", one.get("imagePullPolicy"), _PULL_POLICIES)
    causes += _ports(one, path) + _env(one, path) + _mounts(one, path, volumes)
    causes += resources(one.get("resources") or {}, f"{path}.resources")
    return causes + container_security(one.get("securityContext") or {}, f"{path}.securityContext")


def _ports(one: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    for at, port in indexed(one, "ports", path):
        if port.get("name"):
            causes += checked(f"{at}.name", port["name"], names.port_name)
        if not port.get("containerPort"):
            causes.append(required(f"{at}.containerPort"))
        else:
            causes += port_number(f"{at}.containerPort", port["containerPort"])
        if port.get("hostPort"):
            causes += port_number(f"{at}.hostPort", port["hostPort"])
        causes += one_of(f"{at}.protocol", port.get("protocol"), PROTOCOLS)
    return causes + duplicates((f"{at}.name", port.get("name", "")) for at, port in indexed(one, "ports", path))


def port_number(path: str, number: int) -> list[Cause]:
    return [invalid(path, number, message) for message in names.port_number(number)]


def port_reference(path: str, value: int | str) -> list[Cause]:
    """A port by its number or its name."""
    return port_number(path, value) if isinstance(value, int) else checked(path, value, names.port_name)


def _env(one: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    for at, variable in indexed(one, "env", path):
        causes += required_and_checked(f"{at}.name", variable.get("name"), names.environment_name)
        if "valueFrom" in variable:
            causes += _env_source(variable, f"{at}.valueFrom")
    for at, source in indexed(one, "envFrom", path):
        if source.get("prefix"):
            causes += checked(f"{at}.prefix", source["prefix"], names.environment_name)
        given = [key for key in ("configMapRef", "secretRef") if key in source]
        if not given:
            causes.append(invalid(f"{path}.envFrom", "", "must specify one of: `configMapRef` or `secretRef`"))
        elif len(given) > 1:
            causes.append(invalid(f"{path}.envFrom", "", "may not have more than one field specified at a time"))
        causes += [required(f"{at}.{key}.name") for key in given if not source[key].get("name")]
    return causes


def _env_source(variable: Object, path: str) -> list[Cause]:
    source = variable["valueFrom"]
    given = [key for key in _ENV_SOURCES if key in source]
    if not given:
        listed = ", ".join(f"`{key}`" for key in _ENV_SOURCES[:-1])
        return [invalid(path, "", f"must specify one of: {listed} or `{_ENV_SOURCES[-1]}`")]
    if variable.get("value"):
        return [invalid(path, "", "may not be specified when `value` is not empty")]
    if len(given) > 1:
        return [invalid(path, "", "may not have more than one field specified at a time")]
    at, of = f"{path}.{given[0]}", source[given[0]]
    match given[0]:
        case "fieldRef":
            return field_reference(of, at, _ENV_FIELDS)
        case "resourceFieldRef":
            return resource_field_reference(of, at, named=False)
        case "configMapKeyRef" | "secretKeyRef":
            causes = checked(f"{at}.name", of.get("name", ""), names.dns_subdomain)
            return causes + required_and_checked(f"{at}.key", of.get("key"), names.config_key)
        case _:
            return [required(f"{at}.{key}") for key in ("volumeName", "path", "key") if not of.get(key)]


def field_reference(of: Object, path: str, supported: tuple[str, ...]) -> list[Cause]:
    """`supported`: what may be named besides one label or annotation."""
    if not of.get("apiVersion"):
        return [required(f"{path}.apiVersion")]
    field = of.get("fieldPath", "")
    if not field:
        return [required(f"{path}.fieldPath")]
    if of["apiVersion"] != "v1":
        return [invalid(f"{path}.fieldPath", field, f"error converting fieldPath: unsupported pod version: {of['apiVersion']}")]
    base, bracket, key = field.partition("['")
    if bracket and key.endswith("']") and base in ("metadata.labels", "metadata.annotations"):
        return checked(path, key[:-2].lower() if base == "metadata.annotations" else key[:-2], names.qualified_name)
    if field not in _FIELDS:
        return [invalid(f"{path}.fieldPath", field, f"error converting fieldPath: field label not supported: {field}")]
    return optional_one_of(f"{path}.fieldPath", field, supported)


def resource_field_reference(of: Object, path: str, *, named: bool) -> list[Cause]:
    """`named`: a volume serves all containers, so it must say whose resources are meant."""
    if named and not of.get("containerName"):
        return [required(f"{path}.containerName")]
    resource = of.get("resource", "")
    if not resource:
        return [required(f"{path}.resource")]
    if not resource.startswith(("limits.hugepages-", "requests.hugepages-")) and resource not in _RESOURCE_FIELDS:
        return optional_one_of(f"{path}.resource", resource, _RESOURCE_FIELDS)
    kind = "cpu" if resource.endswith(".cpu") else "memory"
    divisor = of.get("divisor") or "0"
    if parse_quantity(divisor) == 0 or any(parse_quantity(divisor) == parse_quantity(one) for one in _DIVISORS[kind]):
        return []
    listed = "1m and 1 are" if kind == "cpu" else ", ".join(_DIVISORS["memory"]) + " are"
    return [invalid(f"{path}.divisor", resource, f"only divisor's values {listed} supported with the {resource.partition('.')[2]} resource")]


def _mounts(one: Object, path: str, volumes: Volumes) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for at, mount in indexed(one, "volumeMounts", path):
        name, mount_path = mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            causes.append(required(f"{at}.name"))
        if name not in volumes:
            causes.append(not_found(f"{at}.name", name))
        if not mount_path:
            causes.append(required(f"{at}.mountPath"))
        elif mount_path in seen:
            causes.append(invalid(f"{at}.mountPath", mount_path, "must be unique"))
        seen.add(mount_path)
        for key in ("subPath", "subPathExpr"):
            # These paths name the list, not the mount, as clients have come to know them.
            causes += descending_path(f"{path}.volumeMounts.{key}", mount.get(key) or "")
        if mount.get("subPath") and mount.get("subPathExpr"):
            causes.append(invalid(f"{at}.subPathExpr", mount["subPathExpr"], "subPathExpr and subPath are mutually exclusive"))
        propagation = mount.get("mountPropagation")
        causes += optional_one_of(f"{path}.volumeMounts.mountPropagation", propagation, ("Bidirectional", "HostToContainer", "None"))
        if propagation == "Bidirectional" and not (one.get("securityContext") or {}).get("privileged"):
            detail = "Bidirectional mount propagation is available only to privileged containers"
            causes.append(forbidden(f"{path}.volumeMounts.mountPropagation", detail))
    for at, device in indexed(one, "volumeDevices", path):
        causes += [required(f"{at}.{key}") for key in ("name", "devicePath") if not device.get(key)]
        if device.get("name") and device["name"] not in volumes:
            causes.append(not_found(f"{at}.name", device["name"]))
        elif device.get("name") and not volumes[device["name"]].keys() & {"persistentVolumeClaim", "ephemeral"}:
            detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
            causes.append(invalid(f"{at}.name", device["name"], detail))
    return causes


def descending_path(path: str, value: str) -> list[Cause]:
    """A relative path that stays below its root."""
    if value.startswith("/"):
        return [invalid(path, value, "must be a relative path")]
    return [invalid(path, value, "must not contain '..'")] if ".." in value.split("/") else []


# -- resources


def resources(of: Object, path: str) -> list[Cause]:
    limits, requests = of.get("limits") or {}, of.get("requests") or {}
    causes: list[Cause] = []
    for key, amounts in (("limits", limits), ("requests", requests)):
        for name, amount in amounts.items():
            causes += _resource_name(f"{path}.{key}[{name}]", name) + resource_amount(f"{path}.{key}[{name}]", name, amount)
    for name, amount in requests.items():
        limit = limits.get(name)
        if limit is None:
            if "/" in name or name.startswith("hugepages-"):
                causes.append(required(f"{path}.limits", "Limit must be set for non overcommitable resources"))
        elif not _overcommits(name) and parse_quantity(amount) != parse_quantity(limit):
            causes.append(invalid(f"{path}.requests", amount, f"must be equal to {name} limit of {limit}"))
        elif parse_quantity(amount) > parse_quantity(limit):
            causes.append(invalid(f"{path}.requests", amount, f"must be less than or equal to {name} limit of {limit}"))
    named = {*limits, *requests}
    if any(name.startswith("hugepages-") for name in named) and not named & {"cpu", "memory"}:
        causes.append(forbidden(path, "HugePages require cpu or memory"))
    return causes


def _overcommits(name: str) -> bool:
    return name in _STANDARD_RESOURCES


def _resource_name(path: str, name: str) -> list[Cause]:
    causes = checked(path, name, names.qualified_name)
    if "/" in name or name in _STANDARD_RESOURCES or name.startswith("hugepages-"):
        return causes
    if not causes and name not in QUOTA_RESOURCES:
        causes.append(invalid(path, name, "must be a standard resource type or fully qualified"))
    return [*causes, invalid(path, name, "must be a standard resource for containers")]


def resource_amount(path: str, name: str, amount: str) -> list[Cause]:
    value = parse_quantity(amount)
    if value < 0:
        return [invalid(path, amount, NOT_NEGATIVE)]
    if ("/" in name or name in COUNTED_RESOURCES) and value % 1:
        return [invalid(path, amount, "must be an integer")]
    return []


# -- probes and hooks


def _probes(one: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    for key in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = one.get(key)
        if probe is None:
            continue
        at = f"{path}.{key}"
        causes += _handler(probe, at, _HANDLERS)
        causes += not_negative(probe, at, "initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")
        if key != "readinessProbe" and probe.get("successThreshold", 1) != 1:
            causes.append(invalid(f"{at}.successThreshold", probe["successThreshold"], "must be 1"))
        grace = probe.get("terminationGracePeriodSeconds")
        if grace is not None and key == "readinessProbe":
            causes.append(invalid(f"{at}.terminationGracePeriodSeconds", grace, "must not be set for readinessProbes"))
        elif grace is not None and grace <= 0:
            causes.append(invalid(f"{at}.terminationGracePeriodSeconds", grace, "must be greater than 0"))
    return causes


def _lifecycle(one: Object, path: str) -> list[Cause]:
    hooks = one.get("lifecycle") or {}
    return [cause for key in ("postStart", "preStop") if key in hooks for cause in _handler(hooks[key], f"{path}.lifecycle.{key}", _LIFECYCLE_HANDLERS)]


def _handler(of: Mapping[str, Any], path: str, kinds: tuple[str, ...]) -> list[Cause]:
    given = [key for key in kinds if key in of]
    if not given:
        return [required(path, "must specify a handler type")]
    causes = [forbidden(f"{path}.{key}", "may not specify more than 1 handler type") for key in given[1:]]
    at, handler = f"{path}.{given[0]}", of[given[0]]
    match given[0]:
        case "exec":
            return causes if handler.get("command") else [*causes, required(f"{at}.command")]
        case "httpGet":
            if not handler.get("path"):
                causes.append(required(f"{at}.path"))
            causes += port_reference(f"{at}.port", handler.get("port", 0)) + one_of(f"{at}.scheme", handler.get("scheme"), ("HTTP", "HTTPS"))
            for header in handler.get("httpHeaders") or ():
                causes += checked(f"{at}.httpHeaders", header.get("name", ""), names.http_header)
            return causes
        case "tcpSocket":
            return causes + port_reference(f"{at}.port", handler.get("port", 0))
        case "grpc":
            return causes + port_number(f"{at}.port", handler.get("port", 0))
        case _:
            seconds = handler.get("seconds", 0)
            return causes if seconds >= 0 else [*causes, invalid(f"{at}.seconds", seconds, NOT_NEGATIVE)]
