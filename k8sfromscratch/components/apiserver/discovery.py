"""What is served, for clients that ask: /api, /apis, /api/v1, /apis/G, /apis/G/V, and the same in one document (KEP-3352).

    Accept: application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList     the aggregated form, v2 or v2beta1

The documents are made when first asked for and kept until the set of resources changes.
"""

import hashlib
from collections.abc import Iterable
from typing import Any

import orjson

from k8sfromscratch.api.errors import NotFound
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.components.apiserver import api_services
from k8sfromscratch.components.apiserver.aggregation import Aggregation
from k8sfromscratch.components.apiserver.catalog import Catalog
from k8sfromscratch.components.apiserver.negotiation import accepts_discovery
from k8sfromscratch.process.http import Request, Response

Object = dict[str, Any]

_GROUP_LIST = "APIGroupDiscoveryList"
# Groups are listed in upstream's order of priority; the rest follows by name.
_FIRST_GROUPS = ("", "apiregistration.k8s.io", "apps", "events.k8s.io", "authentication.k8s.io", "authorization.k8s.io", "autoscaling", "batch")

# (kind, its group, its version, verbs) of a subresource; what is not named has the kind of its resource and get, patch, update.
_SUBRESOURCES: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    "scale": ("Scale", "autoscaling", "v1", ("get", "patch", "update")),
    "binding": ("Binding", "", "v1", ("create",)),
    "eviction": ("Eviction", "policy", "v1", ("create",)),
    "token": ("TokenRequest", "authentication.k8s.io", "v1", ("create",)),
    "exec": ("PodExecOptions", "", "v1", ("create", "get")),
    "attach": ("PodAttachOptions", "", "v1", ("create", "get")),
    "portforward": ("PodPortForwardOptions", "", "v1", ("create", "get")),
}
_PROXY_KINDS = {"pods": "PodProxyOptions", "services": "ServiceProxyOptions", "nodes": "NodeProxyOptions"}
_PROXY_VERBS = ("create", "delete", "get", "patch", "update")


class Discovery:
    def __init__(self, catalog: Catalog, others: Aggregation, server_address: str = "") -> None:
        self._catalog, self._others = catalog, others
        self._server_address = server_address
        self._kept: dict[str, tuple[bytes, str]] = {}
        self._kept_at = (-1, -1)

    def answer(self, request: Request) -> Response:
        """Raises NotFound for a path under /api and /apis that is none of these documents."""
        parts = request.path.strip("/").split("/")
        if len(parts) == 1:
            form = _aggregated_form(request)
            if form:
                return self._document(request, f"{parts[0]}?{form}", lambda: self._aggregated(parts[0], form), _aggregated_type(form))
            return self._document(request, parts[0], self._versions if parts[0] == "api" else self._groups)
        if parts[0] == "api" and parts[1:] == ["v1"]:
            return self._document(request, "api/v1", lambda: self._resources("", "v1"))
        if parts[0] == "apis" and len(parts) == 2 and self._of_group(parts[1]):
            return self._document(request, request.path, lambda: {"kind": "APIGroup", "apiVersion": "v1", **self._group(parts[1])})
        if parts[0] == "apis" and len(parts) == 2 and parts[1] in self._groups_of_others():
            return self._document(
                request, request.path, lambda: {"kind": "APIGroup", "apiVersion": "v1", **api_services.api_group(parts[1], self._others.remotes)}
            )
        if parts[0] == "apis" and len(parts) == 3 and any(r.version == parts[2] for r in self._of_group(parts[1])):
            return self._document(request, request.path, lambda: self._resources(parts[1], parts[2]))
        raise NotFound("the server could not find the requested resource")

    def _document(self, request: Request, key: str, build: Any, content_type: str = "application/json") -> Response:
        _ = self._others.remotes
        now = (self._catalog.changes, self._others.changes)
        if self._kept_at != now:
            self._kept.clear()
            self._kept_at = now
        if key not in self._kept:
            body = orjson.dumps(build())
            self._kept[key] = (body, f'"{hashlib.sha256(body).hexdigest().upper()}"')
        body, etag = self._kept[key]
        headers = {"Vary": "Accept"}
        if "apidiscovery" in content_type:
            headers["ETag"] = etag
            if request.headers.get("if-none-match") == etag:
                return Response(304, b"", content_type, headers)
        return Response(200, body, content_type, headers)

    # -- what there is

    def _groups_of_others(self) -> list[str]:
        """Those of which nothing is ours, the most preferred first."""
        ours = set(self._group_names())
        return list(dict.fromkeys(remote.group for remote in self._others.remotes if remote.group not in ours))

    def _resources_of_all(self) -> Iterable[Resource]:
        return (served.resource for served in self._catalog)

    def _of_group(self, group: str) -> list[Resource]:
        return [resource for resource in self._resources_of_all() if resource.group == group] if group else []

    def _group_names(self) -> list[str]:
        names = list(dict.fromkeys(resource.group for resource in self._resources_of_all()))
        return sorted(names, key=lambda name: (_FIRST_GROUPS.index(name) if name in _FIRST_GROUPS else len(_FIRST_GROUPS), name))

    def _group_versions(self, group: str) -> list[str]:
        """The preferred one first: v2 before v1, v1 before v1beta1."""
        return sorted({r.version for r in self._resources_of_all() if r.group == group}, key=_version_rank, reverse=True)

    # -- the legacy documents

    def _versions(self) -> Object:
        addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": self._server_address}]
        return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses}

    def _groups(self) -> Object:
        ours = [self._group(name) for name in self._group_names() if name]
        others = [api_services.api_group(name, self._others.remotes) for name in self._groups_of_others()]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [*ours, *others]}

    def _group(self, name: str) -> Object:
        versions = [{"groupVersion": f"{name}/{version}", "version": version} for version in self._group_versions(name)]
        return {"name": name, "versions": versions, "preferredVersion": versions[0]}

    def _resources(self, group: str, version: str) -> Object:
        listed: list[Object] = []
        for resource in sorted(self._resources_of_all(), key=lambda r: r.plural):
            if (resource.group, resource.version) != (group, version):
                continue
            entry: Object = {
                "name": resource.plural,
                "singularName": resource.singular,
                "namespaced": resource.namespaced,
                "kind": resource.kind,
                "verbs": sorted(resource.verbs),
            }
            if resource.short_names:
                entry["shortNames"] = list(resource.short_names)
            if resource.categories:
                entry["categories"] = list(resource.categories)
            listed.append(entry)
            for name in resource.subresources:
                kind, kind_group, kind_version, verbs = subresource(resource, name)
                sub: Object = {"name": f"{resource.plural}/{name}", "singularName": "", "namespaced": resource.namespaced, "kind": kind, "verbs": list(verbs)}
                if (kind_group, kind_version) != (resource.group, resource.version):
                    sub |= {"group": kind_group, "version": kind_version}
                listed.append(sub)
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{group}/{version}" if group else version, "resources": listed}

    # -- the aggregated document

    def _aggregated(self, root: str, form: str) -> Object:
        groups = [""] if root == "api" else [name for name in self._group_names() if name]
        items = [
            {
                "metadata": {"name": name, "creationTimestamp": None} if name else {"creationTimestamp": None},
                "versions": [self._aggregated_version(name, version) for version in self._group_versions(name)],
            }
            for name in groups
        ]
        if root == "apis":
            remotes, documents = self._others.remotes, self._others.documents
            items += [
                {"metadata": {"name": name, "creationTimestamp": None}, "versions": api_services.aggregated_versions(name, remotes, documents)}
                for name in self._groups_of_others()
            ]
        return {"kind": _GROUP_LIST, "apiVersion": f"apidiscovery.k8s.io/{form}", "metadata": {}, "items": items}

    def _aggregated_version(self, group: str, version: str) -> Object:
        resources: list[Object] = []
        for resource in sorted(self._resources_of_all(), key=lambda r: r.plural):
            if (resource.group, resource.version) != (group, version):
                continue
            entry: Object = {
                "resource": resource.plural,
                "responseKind": {"group": group, "version": version, "kind": resource.kind},
                "scope": "Namespaced" if resource.namespaced else "Cluster",
                "singularResource": resource.singular,
                "verbs": sorted(resource.verbs),
            }
            if resource.short_names:
                entry["shortNames"] = list(resource.short_names)
            if resource.categories:
                entry["categories"] = list(resource.categories)
            subresources = []
            for name in resource.subresources:
                kind, kind_group, kind_version, verbs = subresource(resource, name)
                subresources.append({"subresource": name, "responseKind": {"group": kind_group, "version": kind_version, "kind": kind}, "verbs": list(verbs)})
            if subresources:
                entry["subresources"] = subresources
            resources.append(entry)
        return {"version": version, "freshness": "Current", "resources": resources}


def subresource(resource: Resource, name: str) -> tuple[str, str, str, tuple[str, ...]]:
    """(kind, its group, its version, verbs)"""
    if name == "proxy":
        return _PROXY_KINDS.get(resource.plural, resource.kind), "", "v1", _PROXY_VERBS
    if name == "log":
        return resource.kind, resource.group, resource.version, ("get",)
    if name == "finalize":
        return resource.kind, resource.group, resource.version, ("update",)
    return _SUBRESOURCES.get(name, (resource.kind, resource.group, resource.version, ("get", "patch", "update")))


def _aggregated_form(request: Request) -> str:
    """`v2` or `v2beta1` where the client prefers one of them, else empty."""
    for media_type, parameters in accepts_discovery(request):
        if media_type not in ("application/json", "*/*", "application/*"):
            continue
        if parameters.get("as") == _GROUP_LIST and parameters.get("g") == "apidiscovery.k8s.io":
            if parameters.get("v") in ("v2", "v2beta1"):
                return parameters["v"]
            continue
        return ""
    return ""


def _aggregated_type(form: str) -> str:
    return f"application/json;g=apidiscovery.k8s.io;v={form};as={_GROUP_LIST}"


def _version_rank(version: str) -> tuple[int, int, int]:
    """Kubernetes' order of versions: stable over beta over alpha, then the number."""
    number, _, rest = version.removeprefix("v").partition("alpha" if "alpha" in version else "beta")
    stability = 0 if "alpha" in version else 1 if "beta" in version else 2
    return (stability, int(number) if number.isdigit() else 0, int(rest) if rest.isdigit() else 0)
