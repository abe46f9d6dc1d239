"""Which resources the server has, asked of the server: those of the built-in groups and of whatever CustomResourceDefinitions exist."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson

from k8sfromscratch.api.errors import ApiError, from_status
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.client import Client, TransportError

Document: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Discovered:
    resources: tuple[Resource, ...]
    """In the preferred version of each group, other versions' resources only where that has none of the name; no subresources."""
    failed: tuple[str, ...]
    """Group versions that could not be asked, each with its error: what they hold is not known."""


async def discover(client: Client) -> Discovered:
    """Raises ApiError or TransportError when not even the list of groups can be had."""
    groups = (await _document(client, "/apis")).get("groups") or []
    versions = ["v1"] + [version["groupVersion"] for group in groups for version in _preferred_first(group)]
    resources: dict[str, Resource] = {}
    failed: list[str] = []
    for group_version in versions:
        try:
            listed = await _document(client, f"/apis/{group_version}" if "/" in group_version else f"/api/{group_version}")
        except (ApiError, TransportError) as error:
            failed.append(f"{group_version}: {error}")
            continue
        for entry in listed.get("resources") or ():
            if "/" not in entry["name"]:
                resource = _resource(group_version, entry)
                resources.setdefault(resource.group_resource, resource)
    return Discovered(tuple(resources.values()), tuple(failed))


async def _document(client: Client, path: str) -> Document:
    reply = await client.raw("GET", path)
    document: Document = orjson.loads(reply.body)
    if reply.status != 200:
        raise from_status(document, reply.status)
    return document


def _preferred_first(group: Document) -> list[Document]:
    preferred = (group.get("preferredVersion") or {}).get("version")
    return sorted(group.get("versions") or (), key=lambda version: version["version"] != preferred)


def _resource(group_version: str, entry: Document) -> Resource:
    group, _, version = group_version.rpartition("/")
    return Resource(
        group=entry.get("group") or group,
        version=entry.get("version") or version,
        kind=entry["kind"],
        plural=entry["name"],
        namespaced=bool(entry.get("namespaced")),
        singular=entry.get("singularName") or "",
        verbs=tuple(entry.get("verbs") or ()),
    )
