"""What is kept of an answer, so that two servers' answers can be compared.

error      {code, reason, message, details: {kind, name, group, causes: [[reason, field, message]…]}}
object     {code, object}: the whole of it, but for what is random or a clock's: those are replaced by what they are, e.g. `<time>`
table      {code, columns, rows}
watch      {code, events: [[type, kind, name]…]}
text       {code, type, text}
"""

import re
from collections.abc import Mapping
from typing import Any

import orjson
import yaml

from k8sfromscratch.testing.recorded.corpus import HttpRequest, Step

Facts = dict[str, Any]

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_AGE = re.compile(r"(\d+[smhdy])+|<invalid>")
_TOKEN_VOLUME = re.compile(r"\bkube-api-access-[a-z0-9]{5}\b")
_CLUSTER_IP = re.compile(r"10\.(9[6-9]|10\d|11[01])\.\d+\.\d+")
_VOLATILE = frozenset({"uid", "creationTimestamp", "resourceVersion", "managedFields", "selfLink"})
_TEXT_MAX = 200


def facts(step: Step, request: HttpRequest, variables: Mapping[str, str], status: int, content_type: str, body: bytes) -> Facts:
    """`variables` are those saved before: where their values come back they are told by name."""
    found: Facts = {"code": status}
    kind = content_type.partition(";")[0]
    lines = _json_lines(body) if kind == "application/json" else []
    if lines and all(isinstance(line, dict) and line.keys() == {"type", "object"} for line in lines):
        return {**found, "events": [_event(line) for line in lines]}
    value = _decoded(kind, body)
    if value is None:
        if body or kind not in ("", "text/plain"):
            found |= {"type": kind, "text": body.decode(errors="replace")[:_TEXT_MAX]}
        return found
    if kind != "application/json":
        found["type"] = kind
    masked = _Mask(request, variables)
    if isinstance(value, dict) and value.get("kind") == "Status" and value.get("status") == "Failure":
        return found | masked.error(value)
    if isinstance(value, dict) and value.get("kind") == "Table":
        found["columns"] = [[one["name"], one["type"], one.get("format", ""), one["priority"]] for one in value["columnDefinitions"]]
        found["rows"] = [[masked.cell(cell) for cell in row["cells"]] for row in value.get("rows") or ()]
        found["row objects"] = sorted({(row.get("object") or {}).get("kind", "") for row in value.get("rows") or ()})
        return found
    if step.keep is not None:
        found["kept"] = {path: masked.value(at(value, path)) for path in step.keep}
    else:
        found["object"] = masked.value(value)
    return found


def saved(step: Step, body: bytes) -> dict[str, str]:
    """The variables that a step's answer gives."""
    if not step.save:
        return {}
    value = orjson.loads(body)
    return {name: str(at(value, path)) for name, path in step.save.items()}


def at(value: Any, path: str) -> Any:
    """What is at `a/0/b`; None where there is nothing."""
    for part in filter(None, path.split("/")):
        part = part.replace("~1", "/")
        if isinstance(value, list):
            value = value[int(part)] if int(part) < len(value) else None
        elif isinstance(value, dict):
            value = value.get(part)
        else:
            return None
    return value


class _Mask:
    def __init__(self, request: HttpRequest, variables: Mapping[str, str]) -> None:
        self._sent = request.body.decode(errors="replace")
        self._names = {text: name for name, text in variables.items() if text and name != "ns"}
        found = re.search(r'"generateName":"([^"]+)"', self._sent)
        self._generated = re.compile(re.escape(found[1]) + "[a-z0-9]{5}") if found else None

    def error(self, status: Mapping[str, Any]) -> Facts:
        details = status.get("details") or {}
        kept: Facts = {key: details[key] for key in ("kind", "name", "group") if details.get(key)}
        causes = [[one.get("reason", ""), one.get("field", ""), self.text(one.get("message", ""))] for one in details.get("causes") or ()]
        if causes:
            kept["causes"] = causes
        if "name" in kept:
            kept["name"] = self.text(kept["name"])
        return {"reason": status.get("reason", ""), "message": self.text(status.get("message", "")), **({"details": kept} if kept else {})}

    def value(self, value: Any, key: str = "") -> Any:
        match value:
            case dict():
                drop = _VOLATILE if key == "metadata" else frozenset()
                return {name: self.value(one, name) for name, one in value.items() if name not in drop}
            case list():
                return [self.value(one, key) for one in value]
            case str():
                if key in ("clusterIP", "clusterIPs") and _CLUSTER_IP.fullmatch(value) and value not in self._sent:
                    return "<cluster ip>"
                return self.text(value)
            case int() if key in ("nodePort", "healthCheckNodePort") and value and str(value) not in self._sent:
                return "<node port>"
            case _:
                return value

    def text(self, text: str) -> str:
        for value, name in self._names.items():
            text = re.sub(rf"(?<![\w.-]){re.escape(value)}(?![\w.-])", f"<{name}>", text)
        if self._generated is not None:
            text = self._generated.sub("<generated>", text)
        return _TOKEN_VOLUME.sub("kube-api-access-*", _TIME.sub("<time>", _UUID.sub("<uid>", text)))

    def cell(self, cell: Any) -> Any:
        if isinstance(cell, str):
            return "<age>" if _AGE.fullmatch(cell) else "<cluster ip>" if _CLUSTER_IP.fullmatch(cell) else self.text(cell)
        return self.value(cell)


def _event(line: Mapping[str, Any]) -> list[str]:
    obj = line["object"]
    if line["type"] == "ERROR":
        return ["ERROR", obj.get("reason", ""), str(obj.get("code", ""))]
    return [line["type"], obj.get("kind", ""), (obj.get("metadata") or {}).get("name", "")]


def _json_lines(body: bytes) -> list[Any]:
    try:
        return [orjson.loads(line) for line in body.splitlines() if line]
    except orjson.JSONDecodeError:
        return []


def _decoded(media_type: str, body: bytes) -> Any:
    if media_type.endswith("json"):
        return orjson.loads(body) if body else None
    return yaml.safe_load(body) if media_type.endswith("yaml") else None
