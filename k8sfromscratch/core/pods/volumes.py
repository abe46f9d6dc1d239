"""The files of volumes that are made from API objects: configMap, secret, downwardAPI and projected.

The shell fetches what `volume_references` names and the tokens that `token_requests` asks for; `volume_files` says which files come of it; the
shell's atomic writer brings them to disk.  Volumes of other types are either directories (emptyDir, hostPath) or refused (`volume_type`).
"""

from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from .environment import ConfigError, Reference, field_value, resource_value, secret_data
from .spec import Object, find_container

SUPPORTED = ("emptyDir", "hostPath", "configMap", "secret", "projected", "downwardAPI")
FROM_OBJECTS = ("configMap", "secret", "projected", "downwardAPI")
DEFAULT_MODE = 0o644
TOKEN_EXPIRATION_S = 3600


@dataclass(frozen=True, slots=True)
class File:
    content: bytes
    mode: int


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A service account token for `audience` (empty: the apiserver's own), to be renewed before it expires."""

    audience: str
    expiration_s: int


@dataclass(frozen=True, slots=True)
class VolumeSources:
    config_maps: Mapping[str, Object] = field(default_factory=dict)
    secrets: Mapping[str, Object] = field(default_factory=dict)
    tokens: Mapping[TokenRequest, str] = field(default_factory=dict)
    pod_ips: tuple[str, ...] = ()
    host_ips: tuple[str, ...] = ()
    node_allocatable: Mapping[str, str] = field(default_factory=dict)


def volume_type(volume: Object) -> str:
    """`emptyDir`, `configMap`, …  A volume that names no type is an emptyDir.  Raises ConfigError for a type that is not supported."""
    kinds = [key for key in volume if key != "name"]
    kind = kinds[0] if kinds else "emptyDir"
    if kind not in SUPPORTED:
        raise ConfigError(f"volume {volume['name']!r}: volumes of type {kind} are not supported (supported: {', '.join(SUPPORTED)})")
    return kind


def volume_references(volume: Object) -> list[Reference]:
    found = []
    for kind, source in _sources(volume):
        if kind == "configMap":
            found.append(Reference("ConfigMap", source.get("name", ""), bool(source.get("optional"))))
        elif kind == "secret":
            found.append(Reference("Secret", source.get("secretName") or source.get("name", ""), bool(source.get("optional"))))
    return found


def token_requests(volume: Object) -> list[TokenRequest]:
    return [_token_request(source) for kind, source in _sources(volume) if kind == "serviceAccountToken"]


def volume_files(pod: Object, volume: Object, sources: VolumeSources) -> dict[str, File]:
    """Relative path → file.  Raises ConfigError for what is missing and not optional, and for paths that leave the volume."""
    kind = volume_type(volume)
    default_mode = (volume.get(kind) or {}).get("defaultMode")
    mode = DEFAULT_MODE if default_mode is None else int(default_mode)
    files: dict[str, File] = {}
    for part, source in _sources(volume):
        match part:
            case "configMap":
                files |= _from_config_map(pod, source, sources, mode)
            case "secret":
                files |= _from_secret(pod, source, sources, mode)
            case "downwardAPI":
                files |= _from_downward(pod, source, sources, mode)
            case "serviceAccountToken":
                files[source["path"]] = File(sources.tokens[_token_request(source)].encode(), mode)
            case _:
                raise ConfigError(f"volume {volume['name']!r}: a projected source of type {part} is not supported")
    for path in files:
        if path.startswith("/") or ".." in path.split("/"):
            raise ConfigError(f"volume {volume['name']!r}: path {path!r} must stay within the volume")
    return files


def _sources(volume: Object) -> Iterator[tuple[str, Object]]:
    """The parts of a volume: itself, or a projected one's."""
    if volume.get("projected") is not None:
        for source in volume["projected"].get("sources") or []:
            for kind, body in source.items():
                yield kind, body or {}
        return
    for kind in ("configMap", "secret", "downwardAPI"):
        if volume.get(kind) is not None:
            yield kind, volume[kind]


def _token_request(source: Object) -> TokenRequest:
    return TokenRequest(source.get("audience") or "", int(source.get("expirationSeconds") or TOKEN_EXPIRATION_S))


def _from_config_map(pod: Object, source: Object, sources: VolumeSources, mode: int) -> dict[str, File]:
    name = source.get("name", "")
    whole = sources.config_maps.get(name)
    if whole is None:
        return _missing("configmap", name, source)
    data = {key: str(value).encode() for key, value in (whole.get("data") or {}).items()}
    data |= {key: b64decode(value) for key, value in (whole.get("binaryData") or {}).items()}
    return _select(f"configmap {pod['metadata']['namespace']}/{name}", data, source, mode)


def _from_secret(pod: Object, source: Object, sources: VolumeSources, mode: int) -> dict[str, File]:
    name = source.get("secretName") or source.get("name", "")
    whole = sources.secrets.get(name)
    if whole is None:
        return _missing("secret", name, source)
    return _select(f"secret {pod['metadata']['namespace']}/{name}", secret_data(whole), source, mode)


def _missing(kind: str, name: str, source: Object) -> dict[str, File]:
    if source.get("optional"):
        return {}
    raise ConfigError(f'{kind} "{name}" not found')


def _select(label: str, data: Mapping[str, bytes], source: Object, mode: int) -> dict[str, File]:
    """All keys under their own names, or those that `items` lists under the paths it gives."""
    items = source.get("items")
    if not items:
        return {key: File(content, mode) for key, content in data.items()}
    files = {}
    for item in items:
        if item["key"] not in data:
            if source.get("optional"):
                continue
            raise ConfigError(f"{label}: references non-existent key: {item['key']}")
        files[item["path"]] = File(data[item["key"]], _mode(item, mode))
    return files


def _from_downward(pod: Object, source: Object, sources: VolumeSources, mode: int) -> dict[str, File]:
    files = {}
    for item in source.get("items") or []:
        if item.get("fieldRef"):
            text = field_value(pod, item["fieldRef"].get("fieldPath", ""), sources.pod_ips, sources.host_ips)
        else:
            ref = item.get("resourceFieldRef") or {}
            container = find_container(pod, ref.get("containerName", ""))
            if container is None:
                raise ConfigError(f"container {ref.get('containerName', '')!r} not found in pod {pod['metadata']['name']}")
            text = resource_value(pod, container, ref, sources.node_allocatable)
        files[item["path"]] = File(text.encode(), _mode(item, mode))
    return files


def _mode(item: Object, default: int) -> int:
    return default if item.get("mode") is None else int(item["mode"])
