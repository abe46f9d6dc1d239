"""The environment of a container: what `env` and `envFrom` ask for, the services' variables, and `$(NAME)` in all of it.

The shell fetches what `references` names; the rest is here.  Order and precedence are upstream's: services' variables first, then `envFrom`
in its order, then `env`, where a later name replaces an earlier one and may use what is defined before it.
"""

import re
from base64 import b64decode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal

from k8sfromscratch.api.quantity import parse_quantity

from . import spec
from .spec import Object

_EXPANSION = re.compile(r"\$(?:\$|\(([^()]*)\))")
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']*)'\]")


class ConfigError(Exception):
    """The container cannot be created as it is specified (CreateContainerConfigError); the text is upstream's."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A ConfigMap or Secret (`kind`) of the pod's namespace."""

    kind: str
    name: str
    optional: bool


@dataclass(frozen=True, slots=True)
class Sources:
    """What the shell found.  A reference that does not exist is absent.

    `node_allocatable` answers for limits that a container does not set."""

    config_maps: Mapping[str, Object] = field(default_factory=dict)
    secrets: Mapping[str, Object] = field(default_factory=dict)
    services: Iterable[Object] = ()
    pod_ips: tuple[str, ...] = ()
    host_ips: tuple[str, ...] = ()
    node_allocatable: Mapping[str, str] = field(default_factory=dict)


def references(container: Object) -> list[Reference]:
    found = []
    for source in container.get("envFrom") or []:
        for key, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
            if source.get(key):
                found.append(Reference(kind, source[key].get("name", ""), bool(source[key].get("optional"))))
    for entry in container.get("env") or []:
        for key, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
            ref = (entry.get("valueFrom") or {}).get(key)
            if ref:
                found.append(Reference(kind, ref.get("name", ""), bool(ref.get("optional"))))
    return found


def environment(pod: Object, container: Object, sources: Sources) -> dict[str, str]:
    """Raises ConfigError for a reference that is not there and not optional."""
    services = service_variables(pod, sources.services)
    env: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        env |= _from_whole(source, pod, sources)
    for entry in container.get("env") or []:
        name = entry["name"]
        if entry.get("valueFrom"):
            value = _from_field(entry["valueFrom"], pod, container, sources)
            if value is not None:
                env[name] = value
        else:
            env[name] = expand(str(entry.get("value", "")), {**services, **env})
    return {**services, **env}


def expand(text: str, variables: Mapping[str, str]) -> str:
    """`$(NAME)` becomes its value and stays as it is if undefined; `$$` is one dollar sign."""

    def replace(match: re.Match[str]) -> str:
        if match[1] is None:
            return "$"
        return variables.get(match[1], match[0])

    return _EXPANSION.sub(replace, text)


def _from_whole(source: Object, pod: Object, sources: Sources) -> dict[str, str]:
    prefix = source.get("prefix") or ""
    for key, kind, found in (("configMapRef", "configmap", sources.config_maps), ("secretRef", "secret", sources.secrets)):
        ref = source.get(key)
        if not ref:
            continue
        whole = found.get(ref.get("name", ""))
        if whole is None:
            if ref.get("optional"):
                return {}
            raise ConfigError(f'{kind} "{ref.get("name", "")}" not found')
        data = secret_data(whole) if kind == "secret" else whole.get("data") or {}
        values = {k: v.decode(errors="replace") if isinstance(v, bytes) else str(v) for k, v in data.items()}
        return {prefix + k: v for k, v in sorted(values.items()) if "=" not in k}
    return {}


def _from_field(value_from: Object, pod: Object, container: Object, sources: Sources) -> str | None:
    if value_from.get("fieldRef"):
        return field_value(pod, value_from["fieldRef"].get("fieldPath", ""), sources.pod_ips, sources.host_ips)
    if value_from.get("resourceFieldRef"):
        return resource_value(pod, container, value_from["resourceFieldRef"], sources.node_allocatable)
    if value_from.get("configMapKeyRef"):
        return _from_key(value_from["configMapKeyRef"], "configmap", sources.config_maps, pod)
    if value_from.get("secretKeyRef"):
        return _from_key(value_from["secretKeyRef"], "secret", sources.secrets, pod)
    raise ConfigError(f"valueFrom of {', '.join(value_from) or 'nothing'} is not supported")


def _from_key(ref: Object, kind: str, found: Mapping[str, Object], pod: Object) -> str | None:
    name, key = ref.get("name", ""), ref.get("key", "")
    whole = found.get(name)
    if whole is None:
        if ref.get("optional"):
            return None
        raise ConfigError(f'{kind} "{name}" not found')
    data = secret_data(whole) if kind == "secret" else whole.get("data") or {}
    if key not in data:
        if ref.get("optional"):
            return None
        label = "Secret" if kind == "secret" else "ConfigMap"
        raise ConfigError(f"couldn't find key {key} in {label} {pod['metadata']['namespace']}/{name}")
    value = data[key]
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def secret_data(secret: Object) -> dict[str, bytes]:
    return {key: b64decode(value) for key, value in (secret.get("data") or {}).items()}


# The downward API


def field_value(pod: Object, path: str, pod_ips: tuple[str, ...] = (), host_ips: tuple[str, ...] = ()) -> str:
    """What a fieldRef selects.  `metadata.labels` and `metadata.annotations` whole are for volumes: one `key="value"` a line."""
    meta = pod["metadata"]
    subscript = _SUBSCRIPT.fullmatch(path)
    if subscript is not None:
        return str((meta.get(subscript[1]) or {}).get(subscript[2], ""))
    match path:
        case "metadata.name" | "metadata.namespace" | "metadata.uid":
            return str(meta.get(path.removeprefix("metadata."), ""))
        case "metadata.labels" | "metadata.annotations":
            return "\n".join(f"{k}={_quoted(v)}" for k, v in sorted((meta.get(path.removeprefix("metadata.")) or {}).items()))
        case "spec.nodeName" | "spec.serviceAccountName":
            return str(pod["spec"].get(path.removeprefix("spec."), ""))
        case "status.hostIP":
            return host_ips[0] if host_ips else ""
        case "status.hostIPs":
            return ",".join(host_ips)
        case "status.podIP":
            return pod_ips[0] if pod_ips else ""
        case "status.podIPs":
            return ",".join(pod_ips)
    raise ConfigError(f"unsupported fieldPath: {path}")


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")
    return f'"{escaped}"'


def resource_value(pod: Object, container: Object, ref: Object, node_allocatable: Mapping[str, str]) -> str:
    """A request or limit in units of the divisor, rounded up.  A limit that is not set is what the node has."""
    if ref.get("containerName"):
        named = spec.find_container(pod, ref["containerName"])
        if named is None:
            raise ConfigError(f"container {ref['containerName']} not found in pod {pod['metadata']['name']}")
        container = named
    side, _, resource = str(ref.get("resource", "")).partition(".")
    if side not in ("limits", "requests") or not resource:
        raise ConfigError(f"unsupported container resource : {ref.get('resource')}")
    amounts = container.get("resources") or {}
    text = (amounts.get(side) or {}).get(resource)
    if text is None and side == "limits":
        text = node_allocatable.get(resource)
    divisor = parse_quantity(str(ref.get("divisor") or "1")) or Decimal(1)
    amount = parse_quantity(str(text)) if text is not None else Decimal(0)
    return str((amount / divisor).to_integral_value(ROUND_CEILING))


# Services


def service_variables(pod: Object, services: Iterable[Object]) -> dict[str, str]:
    """Those of the pod's namespace, and of `default/kubernetes` always; `enableServiceLinks: false` leaves only the latter."""
    links = pod["spec"].get("enableServiceLinks", True) is not False
    namespace = pod["metadata"]["namespace"]
    chosen: dict[str, Object] = {}
    for service in services:
        meta = service["metadata"]
        if (service["spec"].get("clusterIP") or "None") == "None":
            continue
        is_master = meta["namespace"] == "default" and meta["name"] == "kubernetes"
        if links and meta["namespace"] == namespace:
            chosen[meta["name"]] = service
        elif is_master:
            chosen.setdefault(meta["name"], service)
    env: dict[str, str] = {}
    for name in sorted(chosen):
        env |= _one_service(name, chosen[name]["spec"])
    return env


def _one_service(name: str, service: Object) -> dict[str, str]:
    ports = service.get("ports") or []
    if not ports:
        return {}
    host = service["clusterIP"]
    bracketed = f"[{host}]" if ":" in host else host
    prefix = _variable(name)
    env = {f"{prefix}_SERVICE_HOST": host, f"{prefix}_SERVICE_PORT": str(ports[0]["port"])}
    for port in ports:
        if port.get("name"):
            env[f"{prefix}_SERVICE_PORT_{_variable(port['name'])}"] = str(port["port"])
    for position, port in enumerate(ports):
        protocol = port.get("protocol", "TCP")
        url = f"{protocol.lower()}://{bracketed}:{port['port']}"
        if position == 0:
            env[f"{prefix}_PORT"] = url
        of_port = f"{prefix}_PORT_{port['port']}_{protocol}"
        env |= {of_port: url, f"{of_port}_PROTO": protocol.lower(), f"{of_port}_PORT": str(port["port"]), f"{of_port}_ADDR": host}
    return env


def _variable(name: str) -> str:
    return name.upper().replace("-", "_")
