"""The scale subresource: one replica count under one name, whatever kind has it.  Pure.

Built-in workloads keep it at one place and have a selector that can be written as text; a CustomResourceDefinition says where its resource has both.
"""

from dataclasses import dataclass
from typing import Any

from k8sfromscratch.api import errors

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ScalePaths:
    """Where a custom resource keeps what its Scale shows."""

    replicas: tuple[str, ...]
    status_replicas: tuple[str, ...]
    selector: tuple[str, ...] | None


def scale_of(obj: Object, paths: ScalePaths | None = None) -> Object:
    """The autoscaling/v1 Scale of a workload."""
    metadata = {key: obj["metadata"][key] for key in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp") if key in obj["metadata"]}
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    if paths is None:
        wanted, have, selector = spec.get("replicas", 1), status.get("replicas", 0), selector_text(spec.get("selector") or {})
    else:
        wanted, have = (_number(_at(obj, path)) for path in (paths.replicas, paths.status_replicas))
        text = _at(obj, paths.selector) if paths.selector else None
        selector = text if isinstance(text, str) else ""
    scale: Object = {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": {"replicas": wanted}, "status": {"replicas": have}}
    if selector:
        scale["status"]["selector"] = selector
    return scale


def _at(obj: Object, path: tuple[str, ...]) -> Any:
    value: Any = obj
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _with(obj: Any, path: tuple[str, ...], value: Any) -> Any:
    """A copy along the path."""
    if not path:
        return value
    of = obj if isinstance(obj, dict) else {}
    return {**of, path[0]: _with(of.get(path[0]), path[1:], value)}


def with_scale(obj: Object, scale: Object, paths: ScalePaths | None = None) -> Object:
    """The workload with the replicas that `scale` asks for, under the preconditions that its metadata states."""
    metadata, spec = scale.get("metadata") or {}, scale.get("spec") or {}
    if scale.get("kind", "Scale") != "Scale" or not isinstance(metadata, dict) or not isinstance(spec, dict):
        raise errors.BadRequest("the body must be a Scale object")
    replicas = spec.get("replicas", 0)
    if isinstance(replicas, bool) or not isinstance(replicas, int):
        raise errors.BadRequest("Scale.spec.replicas: must be an integer")
    name = obj["metadata"]["name"]
    if replicas < 0:
        cause = errors.Cause("FieldValueInvalid", f"Invalid value: {replicas}: must be greater than or equal to 0", "spec.replicas")
        raise errors.invalid("Scale", name, "autoscaling", [cause])
    if metadata.get("name", name) != name:
        raise errors.BadRequest(f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})")
    stated = {key: metadata[key] for key in ("resourceVersion", "uid") if metadata.get(key)}
    scaled: Object = _with(obj, ("spec", "replicas") if paths is None else paths.replicas, replicas)
    return {**scaled, "metadata": {**obj["metadata"], **stated}}


def selector_text(selector: Object) -> str:
    """A LabelSelector, or a ReplicationController's plain map, as `kubectl -l` would say it."""
    if "matchLabels" not in selector and "matchExpressions" not in selector:
        return ",".join(f"{key}={value}" for key, value in sorted(selector.items()))
    terms = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for expression in selector.get("matchExpressions") or []:
        key, operator, values = expression["key"], expression["operator"], ",".join(sorted(expression.get("values") or []))
        terms.append({"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": key, "DoesNotExist": f"!{key}"}[operator])
    return ",".join(terms)
