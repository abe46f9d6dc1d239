"""The scale subresource: one replica count under one name, whatever kind has it.  Pure."""

from typing import Any

from k8sfromscratch.api import errors

Object = dict[str, Any]

SCALED = frozenset({"deployments.apps", "replicasets.apps", "statefulsets.apps", "replicationcontrollers"})


def scale_of(obj: Object) -> Object:
    """The autoscaling/v1 Scale of a workload."""
    metadata = {key: obj["metadata"][key] for key in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp") if key in obj["metadata"]}
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    scale: Object = {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": {"replicas": spec.get("replicas", 1)},
        "status": {"replicas": status.get("replicas", 0)},
    }
    selector = selector_text(spec.get("selector") or {})
    if selector:
        scale["status"]["selector"] = selector
    return scale


def with_scale(obj: Object, scale: Object) -> Object:
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
    return {**obj, "metadata": {**obj["metadata"], **stated}, "spec": {**(obj.get("spec") or {}), "replicas": replicas}}


def selector_text(selector: Object) -> str:
    """A LabelSelector, or a ReplicationController's plain map, as `kubectl -l` would say it."""
    if "matchLabels" not in selector and "matchExpressions" not in selector:
        return ",".join(f"{key}={value}" for key, value in sorted(selector.items()))
    terms = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for expression in selector.get("matchExpressions") or []:
        key, operator, values = expression["key"], expression["operator"], ",".join(sorted(expression.get("values") or []))
        terms.append({"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": key, "DoesNotExist": f"!{key}"}[operator])
    return ",".join(terms)
