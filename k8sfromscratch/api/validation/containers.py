"""Containers: image, ports, environment, mounts, resources, probes.

Source: validateContainerCommon and what it calls in pkg/apis/core/validation.
"""

from collections.abc import Collection, Mapping
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

PROTOCOLS = ("SCTP", "TCP", "UDP")
ID_MAX = 2**31 - 1

_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_RESTART_POLICIES = ("Always", "Never", "OnFailure")
_MESSAGE_POLICIES = ("File", "FallbackToLogsOnError")
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
_LIFECYCLE_HANDLERS = ("exec", "httpGet", "tcpSocket", "sleep")
_ENV_FIELDS = (
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
    "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip
_ENV_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")
_STANDARD_RESOURCES = frozenset({"cpu", "memory", "ephemeral-storage"})


def containers(spec: Object, path: str, volumes: Collection[str]) -> list[Cause]:
    if not spec.get("containers"):
        return [required(f"{path}.containers")]
    causes: list[Cause] = []
    for at, one in indexed(spec, "containers", path):
        causes += _container(one, at, volumes) + _probes(one, at) + _lifecycle(one, at)
        causes += optional_one_of(f"{at}.restartPolicy", one.get("restartPolicy"), _RESTART_POLICIES)
    return causes


def init_containers(spec: Object, path: str, volumes: Collection[str]) -> list[Cause]:
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


def ephemeral_containers(spec: Object, path: str, volumes: Collection[str]) -> list[Cause]:
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
    keys = ("initContainers", "containers", "ephemeralContainers")
    return duplicates((f"{at}.name", one.get("name", "")) for key in keys for at, one in indexed(spec, key, path))


def host_ports_are_unique(spec: Object, path: str) -> list[Cause]:
    return duplicates(
        (f"{at_port}.hostPort", f"{port.get('protocol', 'TCP')}/{port.get('hostIP', '')}/{port['hostPort']}")
        for at, one in indexed(spec, "containers", path)
        for at_port, port in indexed(one, "ports", at)
        if port.get("hostPort")
    )


def _container(one: Object, path: str, volumes: Collection[str]) -> list[Cause]:
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
    return causes + _security_context(one.get("securityContext") or {}, f"{path}.securityContext")


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
            causes.append(invalid(at, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif len(given) > 1:
            causes.append(invalid(at, "", "may not have more than one field specified at a time"))
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
            return field_reference(of, at, _ENV_FIELDS, whole_maps=False)
        case "resourceFieldRef":
            return [] if of.get("resource") else [required(f"{at}.resource")]
        case "configMapKeyRef" | "secretKeyRef":
            causes = [] if of.get("name") else [required(f"{at}.name")]
            return causes + required_and_checked(f"{at}.key", of.get("key"), names.config_key)
        case _:
            return [required(f"{at}.{key}") for key in ("volumeName", "path", "key") if not of.get(key)]


def field_reference(of: Object, path: str, supported: tuple[str, ...], *, whole_maps: bool) -> list[Cause]:
    """`whole_maps`: all labels or annotations at once may be named, as files can hold them."""
    if not of.get("apiVersion"):
        return [required(f"{path}.apiVersion")]
    field = of.get("fieldPath", "")
    if not field:
        return [required(f"{path}.fieldPath")]
    base, bracket, key = field.partition("['")
    if base in ("metadata.labels", "metadata.annotations"):
        if bracket and key.endswith("']"):
            return checked(f"{path}.fieldPath", key[:-2], names.qualified_name)
        if whole_maps and not bracket:
            return []
    return [] if field in supported else [invalid(f"{path}.fieldPath", field, f"error converting fieldPath: field label not supported: {field}")]


def _mounts(one: Object, path: str, volumes: Collection[str]) -> list[Cause]:
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
            causes += descending_path(f"{at}.{key}", mount.get(key) or "")
        if mount.get("subPath") and mount.get("subPathExpr"):
            causes.append(invalid(f"{at}.subPathExpr", mount["subPathExpr"], "subPathExpr and subPath are mutually exclusive"))
        causes += optional_one_of(f"{at}.mountPropagation", mount.get("mountPropagation"), ("Bidirectional", "HostToContainer", "None"))
    for at, device in indexed(one, "volumeDevices", path):
        causes += [required(f"{at}.{key}") for key in ("name", "devicePath") if not device.get(key)]
        if device.get("name") and device["name"] not in volumes:
            causes.append(not_found(f"{at}.name", device["name"]))
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
            causes += resource_name(f"{path}.{key}", name) + resource_amount(f"{path}.{key}[{name}]", name, amount)
    for name, amount in requests.items():
        limit = limits.get(name)
        if limit is None:
            if not _overcommits(name):
                causes.append(required(f"{path}.limits", "Limit must be set for non overcommitable resources"))
        elif not _overcommits(name) and parse_quantity(amount) != parse_quantity(limit):
            causes.append(invalid(f"{path}.requests", amount, f"must be equal to {name} limit of {limit}"))
        elif parse_quantity(amount) > parse_quantity(limit):
            causes.append(invalid(f"{path}.requests", amount, f"must be less than or equal to {name} limit of {limit}"))
    return causes


def _overcommits(name: str) -> bool:
    return name in _STANDARD_RESOURCES


def resource_name(path: str, name: str) -> list[Cause]:
    causes = checked(path, name, names.qualified_name)
    if not causes and "/" not in name and name not in _STANDARD_RESOURCES and not name.startswith("hugepages-"):
        causes.append(invalid(path, name, "must be a standard resource type or fully qualified"))
        causes.append(invalid(path, name, "must be a standard resource for containers"))
    return causes


def resource_amount(path: str, name: str, amount: str) -> list[Cause]:
    value = parse_quantity(amount)
    if value < 0:
        return [invalid(path, amount, NOT_NEGATIVE)]
    if "/" in name and value % 1:
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
            for at_header, header in indexed(handler, "httpHeaders", at):
                causes += checked(f"{at_header}.name", header.get("name", ""), names.http_header)
            return causes
        case "tcpSocket":
            return causes + port_reference(f"{at}.port", handler.get("port", 0))
        case "grpc":
            return causes + port_number(f"{at}.port", handler.get("port", 0))
        case _:
            seconds = handler.get("seconds", 0)
            return causes if seconds >= 0 else [*causes, invalid(f"{at}.seconds", seconds, NOT_NEGATIVE)]


def _security_context(of: Object, path: str) -> list[Cause]:
    causes = user_and_group(of, path)
    if of.get("privileged") and of.get("allowPrivilegeEscalation") is False:
        causes.append(invalid(path, of, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"))
    if of.get("allowPrivilegeEscalation") is False and "SYS_ADMIN" in ((of.get("capabilities") or {}).get("add") or ()):
        causes.append(invalid(path, of, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"))
    return causes + optional_one_of(f"{path}.procMount", of.get("procMount"), ("Default", "Unmasked"))


def user_and_group(of: Mapping[str, Any], path: str) -> list[Cause]:
    detail = f"must be between 0 and {ID_MAX}, inclusive"
    return [invalid(f"{path}.{key}", of[key], detail) for key in ("runAsUser", "runAsGroup", "fsGroup") if not 0 <= of.get(key, 0) <= ID_MAX]
