"""What a request is about, from its method and path alone: the words that routing, authorization and metrics share.

    /api/v1/namespaces/default/pods/web-0/log    GET     -> get     "" v1 pods web-0 log, namespace default
    /apis/apps/v1/deployments?watch=true         GET     -> watch   apps v1 deployments, all namespaces
    /api/v1/namespaces/default/configmaps        DELETE  -> deletecollection
    /api/v1/namespaces/default/finalize          PUT     -> update  "" v1 namespaces default finalize
    /openapi/v2                                  GET     -> get     not a resource

Source: apiserver/pkg/endpoints/request/requestinfo.go.
"""

from typing import NamedTuple

from k8sfromscratch.process.http import Request

_NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})
_VERBS = {"POST": "create", "GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class RequestInfo(NamedTuple):
    """`verb` is the lower-case method where the path is of no resource.  `rest` is what follows a subresource (`proxy/a/b`)."""

    verb: str
    path: str
    is_resource: bool = False
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    rest: str = ""

    @property
    def scope(self) -> str:
        """For metrics: `resource`, `namespace` or `cluster`."""
        if self.name:
            return "resource"
        return "namespace" if self.namespace else "cluster"


def parse(request: Request) -> RequestInfo:
    path = request.path
    parts = path.split("/")
    # ["", "api", "v1", …] or ["", "apis", group, version, …]
    if len(parts) > 3 and parts[1] == "api":
        group, version, parts = "", parts[2], parts[3:]
    elif len(parts) > 4 and parts[1] == "apis":
        group, version, parts = parts[2], parts[3], parts[4:]
    else:
        return RequestInfo(request.method.lower(), path)
    if parts[-1] == "" and len(parts) > 1 and "proxy" not in parts:
        parts = parts[:-1]
    if not parts[0]:
        return RequestInfo(request.method.lower(), path)
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 1:
        namespace = parts[1]
        # /namespaces/NAME and its own subresources are about the namespace; anything longer is about what is in it.
        if len(parts) > 2 and not (group == "" and parts[2] in _NAMESPACE_SUBRESOURCES):
            parts = parts[2:]
    resource = parts[0]
    name = parts[1] if len(parts) > 1 else ""
    subresource = parts[2] if len(parts) > 2 else ""
    verb = _VERBS.get(request.method, request.method.lower())
    if not name:
        if verb == "get":
            verb = "watch" if _is_set(request, "watch") else "list"
        elif verb == "delete":
            verb = "deletecollection"
    if verb in ("list", "watch"):
        name = _name_in(request.arg("fieldSelector"))
    return RequestInfo(verb, path, True, group, version, resource, subresource, namespace, name, "/".join(parts[3:]))


def _is_set(request: Request, name: str) -> bool:
    """A boolean parameter: true by being there, but for two words."""
    return name in request.query and request.arg(name).lower() not in ("0", "false")


def _name_in(field_selector: str) -> str:
    """A list of metadata.name=x counts as a request for x, so that a right on that one name suffices."""
    for term in field_selector.split(","):
        field, _, value = term.partition("=")
        if field == "metadata.name":
            return value.removeprefix("=")
    return ""
