"""The corpus: what is asked, in which order, as whom.

    objects: {pod: {apiVersion: v1, kind: Pod, …}}             bodies by name
    at: /api/v1/namespaces/${ns}/pods                          what relative targets start from
    upstream: {policy/v1: policy/v1beta1}                      how the older release calls a version; both ways, in paths and bodies
    scenarios:
      pod-names:                                               its own namespace, its own server in the replay; later steps see what earlier ones did
        none: {POST: , body: pod, drop: [metadata/name]}
        seen: {GET: ./web, save: {rv: metadata/resourceVersion}}
        old: {PUT: ./web, body: pod, set: {metadata/resourceVersion: "${rv}"}}

A step is one request.  Its target is absolute, or empty or `.…` (relative to `at`).  Its body is a name or an object, changed by `set` (path → value)
and `drop`, or `raw` text.  Others: `as` (patch type or media type), `user`, `headers`, `save` (variables from the answer), `keep` (paths of the answer that are
compared, all without it).
"""

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import yaml

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
_MEDIA_TYPES = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
    "yaml": "application/yaml",
}
_STEP_KEYS = frozenset({*METHODS, "body", "set", "drop", "raw", "as", "user", "headers", "save", "keep"})
_VARIABLE = re.compile(r"\$\{(\w+)\}")

USERS: Mapping[str, tuple[str, ...]] = {"admin": ("system:masters",), "alice": (), "bob": ("readers",)}
"""Who has a static token (the name with `-token` behind it), and their groups; `nobody` sends none."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    method: str
    target: str
    """Path and query as they go on the wire."""
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Step:
    name: str
    method: str
    target: str
    body: Any = None
    raw: str | None = None
    media_type: str = "application/json"
    user: str = "admin"
    headers: Mapping[str, str] = field(default_factory=dict)
    save: Mapping[str, str] = field(default_factory=dict)
    keep: tuple[str, ...] | None = None

    def request(self, variables: Mapping[str, str]) -> HttpRequest:
        """Raises KeyError for a variable that no earlier step saved."""
        if self.raw is not None:
            body = _filled(self.raw, variables).encode()
        else:
            body = b"" if self.body is None else orjson.dumps(_filled(self.body, variables))
        headers = {"Accept": "application/json", "User-Agent": "recorder/1"}
        if body or self.method == "PATCH":
            headers["Content-Type"] = self.media_type
        if self.user != "nobody":
            headers["Authorization"] = f"Bearer {self.user}-token"
        headers.update(_filled(dict(self.headers), variables))
        return HttpRequest(self.method, _filled(self.target, variables), headers, body)


@dataclass(frozen=True, slots=True)
class Scenario:
    theme: str
    name: str
    steps: tuple[Step, ...]
    upstream: Mapping[str, str]

    @property
    def id(self) -> str:
        return f"{self.theme}/{self.name}"

    def preparation(self) -> tuple[Step, ...]:
        """The namespace and its default account, which controllers would make."""
        return (
            Step("namespace", "POST", "/api/v1/namespaces", {"metadata": {"name": self.name}}),
            Step("account", "POST", f"/api/v1/namespaces/{self.name}/serviceaccounts", {"metadata": {"name": "default"}}),
        )

    def for_upstream(self, text: str) -> str:
        for ours, theirs in self.upstream.items():
            text = re.sub(rf"{re.escape(ours)}(?![a-z0-9])", theirs, text)
        return text

    def from_upstream(self, text: str) -> str:
        for ours, theirs in self.upstream.items():
            text = text.replace(theirs, ours)
        return text


def load(directory: Path) -> list[Scenario]:
    """Every scenario of every theme (a file each).  Raises ValueError for a corpus that is not well formed."""
    return [scenario for path in sorted(directory.glob("*.yaml")) for scenario in _theme(path)]


def _theme(path: Path) -> Iterator[Scenario]:
    document = yaml.load(path.read_text(), Loader=_UniqueKeys)
    objects = document.get("objects") or {}
    for name, described in document["scenarios"].items():
        if re.fullmatch("[a-z0-9-]{1,63}", name) is None:
            raise ValueError(f"{path.name}: {name} cannot be a namespace")
        described = dict(described)
        at = described.pop("at", document.get("at", ""))
        steps = tuple(_step(step, value, objects, at) for step, value in described.items())
        yield Scenario(path.stem, name, steps, document.get("upstream") or {})


def _step(name: str, described: Mapping[str, Any], objects: Mapping[str, Any], at: str) -> Step:
    unknown = set(described) - _STEP_KEYS
    methods = [key for key in described if key in METHODS]
    if unknown or len(methods) != 1:
        raise ValueError(f"{name}: {unknown or 'one method is needed'}")
    method = methods[0]
    target = described[method] or ""
    if not target.startswith("/"):
        target = at + target.removeprefix(".")
    body = described.get("body")
    if isinstance(body, str):
        body = objects[body]
    body = copy.deepcopy(body)
    for path, value in (described.get("set") or {}).items():
        _set(body, path.split("/"), value)
    for path in described.get("drop") or ():
        _drop(body, path.split("/"))
    kind = described.get("as", "")
    media_type = _MEDIA_TYPES.get(kind, kind) or "application/json"
    keep = described.get("keep")
    return Step(
        name,
        method,
        target,
        body,
        described.get("raw"),
        media_type,
        described.get("user", "admin"),
        described.get("headers") or {},
        described.get("save") or {},
        None if keep is None else tuple(keep),
    )


def _set(obj: Any, path: list[str], value: Any) -> None:
    """`a/0/b`: a number is an index where there is a list, `-` appends; `~1` is a slash."""
    for here, further in pairwise(path):
        if isinstance(obj, list):
            obj = obj[int(here)]
        else:
            obj = obj.setdefault(here.replace("~1", "/"), [] if further == "-" else {})
    if not isinstance(obj, list):
        obj[path[-1].replace("~1", "/")] = value
    elif path[-1] == "-":
        obj.append(value)
    else:
        obj[int(path[-1])] = value


def _drop(obj: Any, path: list[str]) -> None:
    for part in path[:-1]:
        obj = obj[int(part)] if isinstance(obj, list) else obj[part.replace("~1", "/")]
    del obj[int(path[-1]) if isinstance(obj, list) else path[-1].replace("~1", "/")]


def _filled(value: Any, variables: Mapping[str, str]) -> Any:
    match value:
        case str():
            return _VARIABLE.sub(lambda found: variables[found[1]], value)
        case dict():
            return {_filled(key, variables): _filled(one, variables) for key, one in value.items()}
        case list():
            return [_filled(one, variables) for one in value]
        case _:
            return value


class _UniqueKeys(yaml.SafeLoader):
    """A step that is there twice would silently hide the first one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        if len(keys) != len(set(keys)):
            raise ValueError(f"a key is there twice: {sorted(keys)} {node.start_mark}")
        return super().construct_mapping(node, deep)


# `no`, `on` and dates are words in a corpus about what is a string and what is not; only true and false are booleans.
_UniqueKeys.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:bool")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_UniqueKeys.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("true|false"), list("tf"))
