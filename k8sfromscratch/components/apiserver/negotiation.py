"""What the client sends and what it wants back: media types, and the transforms that an Accept header can ask for.

    Accept: application/json;as=Table;v=v1;g=meta.k8s.io,application/json      kubectl get
    Accept: application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io   metadata informers
    Accept: application/vnd.kubernetes.protobuf,application/json               typed Go clients: they get JSON

Protobuf is read but not written: a client that takes nothing else is refused (406).
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import orjson
import yaml

from k8sfromscratch.api import protobuf_body
from k8sfromscratch.api.errors import BadRequest, NotAcceptable, RequestEntityTooLarge, UnsupportedMediaType
from k8sfromscratch.process.http import Request

# As upstream's; etcd refuses more than 1.5 MiB anyway.
BODY_BYTES_MAX = 3 * 1024 * 1024
_YAML_DEPTH_MAX = 200

JSON, YAML = "application/json", "application/yaml"
_JSON_NAMES = frozenset({JSON, "*/*", "application/*"})
_META_VERSIONS = frozenset({"v1", "v1beta1"})
_TRANSFORMS = frozenset({"Table", "PartialObjectMetadata", "PartialObjectMetadataList"})

Transform = Literal["", "Table", "PartialObjectMetadata"]


@dataclass(frozen=True, slots=True)
class Output:
    """`transform` is what objects are turned into; `transform_version` its meta.k8s.io version."""

    media_type: str = JSON
    transform: Transform = ""
    transform_version: str = "v1"


_PLAIN = Output()
_BY_HEADER: dict[str, Output] = {"": _PLAIN, JSON: _PLAIN, "*/*": _PLAIN}
# Clients of one kind send the same header each time; the bound keeps a hostile one from filling memory.
_HEADERS_KEPT = 256


def output(request: Request, *, transforms: bool = True) -> Output:
    """What to answer with.  Raises NotAcceptable."""
    header = request.headers.get("accept", "")
    known = _BY_HEADER.get(header)
    if known is None:
        known = _parse_accept(header)
        if len(_BY_HEADER) < _HEADERS_KEPT:
            _BY_HEADER[header] = known
    if known.transform and not transforms:
        return Output(known.media_type)
    return known


def _parse_accept(header: str) -> Output:
    for media_type, parameters in _clauses(header):
        wanted = parameters.get("as", "")
        if media_type in _JSON_NAMES:
            chosen = JSON
        elif media_type in (YAML, "application/x-yaml", "text/yaml"):
            chosen = YAML
        else:
            continue
        if not wanted:
            return Output(chosen)
        if wanted in _TRANSFORMS and parameters.get("g") == "meta.k8s.io" and parameters.get("v") in _META_VERSIONS:
            transform: Transform = "Table" if wanted == "Table" else "PartialObjectMetadata"
            return Output(chosen, transform, parameters["v"])
    raise NotAcceptable("only the following media types are accepted: application/json, application/yaml (protobuf and CBOR are not served)")


def _clauses(header: str) -> list[tuple[str, dict[str, str]]]:
    """The media ranges of an Accept header, best first."""
    clauses: list[tuple[float, int, str, dict[str, str]]] = []
    for index, clause in enumerate(header.split(",")):
        media_type, *texts = [part.strip() for part in clause.split(";")]
        parameters = dict(text.partition("=")[::2] for text in texts if "=" in text)
        try:
            quality = float(parameters.pop("q", "1"))
        except ValueError:
            quality = 0.0
        if quality > 0:
            clauses.append((-quality, index, media_type.lower(), parameters))
    clauses.sort(key=lambda clause: clause[:2])
    return [(media_type, parameters) for _, _, media_type, parameters in clauses]


def accepts_discovery(request: Request) -> list[tuple[str, dict[str, str]]]:
    """The clauses themselves, for documents with forms of their own (aggregated discovery, OpenAPI)."""
    return _clauses(request.headers.get("accept", "") or JSON)


def media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def is_json(request: Request) -> bool:
    return media_type(request) in ("", JSON)


def decode_body(request: Request) -> Any:
    """The body as JSON values.  Raises UnsupportedMediaType, BadRequest, RequestEntityTooLarge."""
    kind = media_type(request)
    if kind in ("", JSON):
        return from_json(request.body)
    if kind in (YAML, "application/x-yaml", "text/yaml"):
        return from_yaml(request.body)
    if kind == protobuf_body.MEDIA_TYPE:
        check_size(request.body)
        return protobuf_body.decode(request.body)
    raise UnsupportedMediaType(
        f"the body of the request was in an unknown format - accepted media types include: application/json, application/yaml (got {kind})"
    )


def from_json(body: bytes) -> Any:
    check_size(body)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"error decoding the body: {error}") from error


def from_yaml(body: bytes) -> Any:
    check_size(body)
    try:
        _refuse_bombs(body)
        return orjson.loads(orjson.dumps(yaml.load(body, Loader=_JsonLoader)))
    except (yaml.YAMLError, TypeError, ValueError, RecursionError) as error:
        raise BadRequest(f"error converting YAML to JSON: {error}") from error


def check_size(body: bytes) -> None:
    if len(body) > BODY_BYTES_MAX:
        raise RequestEntityTooLarge(f"Request entity too large: limit is {BODY_BYTES_MAX}")


class _JsonLoader(yaml.CSafeLoader):
    """YAML of what JSON can say: a date stays text."""


_JsonLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def _finite(loader: _JsonLoader, node: yaml.ScalarNode) -> float:
    """JSON has no word for what is no number: it would become null, and so go unnoticed."""
    value = float(loader.construct_yaml_float(node))
    if not math.isfinite(value):
        raise yaml.YAMLError(f"json: unsupported value: {node.value}")
    return value


_JsonLoader.add_constructor("tag:yaml.org,2002:float", _finite)


def _refuse_bombs(body: bytes) -> None:
    """Aliases are refused, since a few of them can name billions of nodes, and so is nesting that would exhaust the stack."""
    depth = 0
    for event in yaml.parse(body, Loader=_JsonLoader):
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not supported")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _YAML_DEPTH_MAX:
                raise yaml.YAMLError("nested too deeply")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
