"""The Node authorizer: a kubelet may read what its own pods need, keep its own node and lease, and little else.

What a request writes is judged by the NodeRestriction admission plugin: authorization does not see bodies, so a create passes here.
Nothing is ever denied; what is not allowed is left to the authorizers that follow.  Source: plugin/pkg/auth/authorizer/node.
"""

from k8sfromscratch.core.authz.node_graph import NodeGraph
from k8sfromscratch.core.authz.rules import Rule
from k8sfromscratch.core.authz.types import Attributes, Decision, UserInfo
from k8sfromscratch.core.authz.view import CachedView

NODE_USER_PREFIX = "system:node:"
NODES_GROUP = "system:nodes"
LEASE_NAMESPACE = "kube-node-lease"

_ALLOWED = Decision(True)
_OWN_VERBS = frozenset({"get", "create", "update", "patch", "delete"})


def _rule(verbs: str, group: str, *resources: str) -> Rule:
    return Rule(frozenset(verbs.split()), frozenset({group}), frozenset(resources))


NODE_RULES: tuple[Rule, ...] = (
    _rule("create", "authentication.k8s.io", "tokenreviews"),
    _rule("create", "authorization.k8s.io", "subjectaccessreviews", "localsubjectaccessreviews"),
    _rule("get list watch", "", "services"),
    _rule("create update patch", "", "events"),
    _rule("create update patch", "events.k8s.io", "events"),
    _rule("create get list watch", "certificates.k8s.io", "certificatesigningrequests"),
    _rule("get list watch", "storage.k8s.io", "csidrivers"),
    _rule("get list watch", "node.k8s.io", "runtimeclasses"),
)
"""The same for all nodes.  The ClusterRole system:node, which is bound to nobody, shows these and what is judged below."""


def node_name(user: UserInfo) -> str | None:
    """The node a kubelet speaks for; None where the user is not one."""
    if not user.name.startswith(NODE_USER_PREFIX) or NODES_GROUP not in user.groups:
        return None
    return user.name.removeprefix(NODE_USER_PREFIX) or None


class NodeAuthorizer:
    def __init__(self) -> None:
        self._graph = NodeGraph()

    def authorize(self, a: Attributes, view: CachedView) -> Decision:
        node = node_name(a.user)
        if node is None:
            return _no("")
        if not a.is_resource:
            return _no("")
        match a.group, a.resource:
            case "", "secrets" | "configmaps":
                return self._read_one(node, a, view)
            case "", "persistentvolumeclaims" if a.subresource == "status":
                return self._related(node, a, view) if a.verb in ("update", "patch") else _no("can only update the status of this type")
            case ("", "persistentvolumeclaims" | "persistentvolumes") | ("resource.k8s.io", "resourceclaims") | ("storage.k8s.io", "volumeattachments"):
                return self._get_one(node, a, view)
            case "", "serviceaccounts":
                return self._account(node, a, view)
            case "", "pods":
                return self._pod(node, a, view)
            case "", "nodes":
                return _node(node, a)
            case ("coordination.k8s.io", "leases") | ("storage.k8s.io", "csinodes"):
                return _own(node, a)
        return _ALLOWED if any(rule.allows(a) for rule in NODE_RULES) else _no("")

    def _read_one(self, node: str, a: Attributes, view: CachedView) -> Decision:
        if a.verb not in ("get", "list", "watch"):
            return _no("can only read resources of this type")
        if a.subresource:
            return _no("cannot read subresource")
        if not a.namespace:
            return _no("can only read namespaced object of this type")
        return self._related(node, a, view)

    def _get_one(self, node: str, a: Attributes, view: CachedView) -> Decision:
        if a.verb != "get":
            return _no("can only get individual resources of this type")
        if a.subresource:
            return _no("cannot get subresource")
        return self._related(node, a, view)

    def _account(self, node: str, a: Attributes, view: CachedView) -> Decision:
        if a.verb == "get" and not a.subresource:
            return self._related(node, a, view)
        if a.verb != "create" or a.subresource != "token":
            return _no("can only get service accounts and create tokens of them")
        return self._related(node, a, view)

    def _pod(self, node: str, a: Attributes, view: CachedView) -> Decision:
        if a.subresource == "status":
            return _ALLOWED if a.verb in ("update", "patch") else _no("can only update the status of pods")
        if a.subresource == "eviction":
            return _ALLOWED if a.verb == "create" else _no("can only create evictions of pods")
        if a.subresource:
            return _no("cannot use this subresource of pods")
        if a.verb in ("create", "delete"):
            return _ALLOWED
        if a.verb in ("list", "watch") and _selects(a.field_selector, "spec.nodeName", node):
            return _ALLOWED
        if a.verb not in ("get", "list", "watch"):
            return _no("can only get, list, watch, create and delete pods")
        if not a.name:
            return _no("can only list/watch pods with spec.nodeName field selector")
        self._graph.follow(view)
        return _ALLOWED if self._graph.runs(node, a.namespace, a.name) else _unrelated(node)

    def _related(self, node: str, a: Attributes, view: CachedView) -> Decision:
        if not a.name:
            return _no("No Object name found")
        self._graph.follow(view)
        return _ALLOWED if self._graph.needs(node, a.resource, a.namespace, a.name) else _unrelated(node)


def _node(node: str, a: Attributes) -> Decision:
    if a.subresource not in ("", "status"):
        return _no("cannot use this subresource of nodes")
    if a.verb in ("create", "update", "patch"):
        return _ALLOWED
    if a.verb not in ("get", "list", "watch") or a.subresource:
        return _no("can only get, list, watch, create, update and patch nodes")
    return _ALLOWED if a.name == node else _no(f"node '{node}' cannot read '{a.name}', only its own Node object")


def _own(node: str, a: Attributes) -> Decision:
    """Leases and CSINodes: the one that has the node's name.  A create's name is in its body, where NodeRestriction looks."""
    if a.verb not in _OWN_VERBS or a.subresource:
        return _no(f"can only get, create, update, patch, or delete {a.resource} of its own")
    if a.resource == "leases" and a.namespace != LEASE_NAMESPACE:
        return _no(f'can only access leases in the "{LEASE_NAMESPACE}" system namespace')
    if a.verb != "create" and a.name != node:
        return _no(f"can only access {a.resource} with the same name as the requesting node")
    return _ALLOWED


def _selects(field_selector: str, field: str, value: str) -> bool:
    """One of the selector's terms, which are all required, is field=value."""
    return any(term in (f"{field}={value}", f"{field}=={value}") for term in field_selector.split(","))


def _unrelated(node: str) -> Decision:
    return _no(f"no relationship found between node '{node}' and this object")


def _no(reason: str) -> Decision:
    return Decision(False, reason)
