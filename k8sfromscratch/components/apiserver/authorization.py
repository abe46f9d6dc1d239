"""May they?  The words of a request as authorizers read them, and the refusal in upstream's words, which tools look for."""

from k8sfromscratch.api.errors import Forbidden, forbidden
from k8sfromscratch.components.apiserver.request_info import RequestInfo
from k8sfromscratch.core.authz.types import Attributes, Decision, UserInfo
from k8sfromscratch.process.http import Request


def attributes_of(user: UserInfo, info: RequestInfo, request: Request) -> Attributes:
    if not info.is_resource:
        return Attributes(user, info.verb, path=info.path)
    selector = request.arg("fieldSelector") if info.verb in ("list", "watch", "deletecollection") else ""
    return Attributes(user, info.verb, info.namespace, info.group, info.version, info.resource, info.subresource, info.name, field_selector=selector)


def denied(a: Attributes, decision: Decision) -> Forbidden:
    """`pods "x" is forbidden: User "ann" cannot get resource "pods" in API group "" in the namespace "default"`."""
    why = f": {decision.reason}" if decision.reason else ""
    if not a.is_resource:
        return Forbidden(f'forbidden: User "{a.user.name}" cannot {a.verb} path "{a.path}"{why}')
    resource = f"{a.resource}/{a.subresource}" if a.subresource else a.resource
    scope = f'in the namespace "{a.namespace}"' if a.namespace else "at the cluster scope"
    return forbidden(a.resource, a.name, a.group, f'User "{a.user.name}" cannot {a.verb} resource "{resource}" in API group "{a.group}" {scope}{why}')
