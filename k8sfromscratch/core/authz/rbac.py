"""The RBAC authorizer: allowed is what some bound role allows; nothing is ever denied.

    subject (user or group) ──> bindings, cluster-wide and by namespace ──> roles ──> rules ──> allowed?

The indexes follow the cache by deltas, so that a decision looks at the bindings of this user and no others.  A service account
is its user name (`system:serviceaccount:NAMESPACE:NAME`).  Filling in aggregated ClusterRoles is a controller's work.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from k8sfromscratch.api.registry import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.core.authz.rules import Rule
from k8sfromscratch.core.authz.types import Attributes, Decision, UserInfo
from k8sfromscratch.core.authz.view import CachedView

RBAC_GROUP = "rbac.authorization.k8s.io"

# Clients repeat themselves: a controller makes the same ten kinds of request all day.  Bounded, since namespaces are a client's choice.
_DECISIONS_KEPT = 4096

Subject = tuple[str, str]
"""("User", name) or ("Group", name)."""

RoleKey = tuple[str, str]
"""(namespace, name); a ClusterRole's namespace is empty."""

_INDEXED = (CLUSTER_ROLES, ROLES, CLUSTER_ROLE_BINDINGS, ROLE_BINDINGS)


@dataclass(frozen=True, slots=True)
class Binding:
    """`namespace` is empty for a ClusterRoleBinding."""

    namespace: str
    name: str
    role: RoleKey
    subjects: tuple[Subject, ...]

    def describe(self, subject: Subject) -> str:
        """Upstream's words for an audit log and a review's reason."""
        binding = f'RoleBinding "{self.name}/{self.namespace}"' if self.namespace else f'ClusterRoleBinding "{self.name}"'
        role = f'Role "{self.role[1]}"' if self.role[0] else f'ClusterRole "{self.role[1]}"'
        return f'{binding} of {role} to {subject[0]} "{subject[1]}"'


class RbacAuthorizer:
    """Follows one view for its whole life."""

    def __init__(self) -> None:
        self._seen: tuple[int, ...] = ()
        self._marks: dict[Resource, object | None] = dict.fromkeys(_INDEXED)
        self._roles: dict[RoleKey, tuple[Rule, ...]] = {}
        self._bindings: dict[tuple[Resource, str], Binding] = {}
        self._by_subject: dict[tuple[str, Subject], dict[str, Binding]] = {}
        self._decisions: dict[tuple[str, ...], Decision] = {}

    def authorize(self, a: Attributes, view: CachedView) -> Decision:
        self._follow(view)
        user = a.user
        # Without the name: a decision is kept only where it would be the same for every name.
        kind = (user.name, *user.groups, "", a.verb, a.namespace, a.group, a.resource, a.subresource, a.path)
        known = self._decisions.get(kind)
        if known is not None:
            return known
        missing: list[str] = []
        for binding, subject in self._bound(user, a.namespace):
            rules = self._roles.get(binding.role)
            if rules is None:
                missing.append(_not_found(binding.role))
                continue
            for rule in rules:
                if rule.allows(a):
                    decision = Decision(True, f"RBAC: allowed by {binding.describe(subject)}")
                    if not rule.names:
                        self._keep(kind, decision)
                    return decision
        return Decision(False, f"RBAC: {_joined(missing)}" if missing else "")

    def rules_for(self, user: UserInfo, namespace: str, view: CachedView) -> tuple[list[Rule], list[str]]:
        """All rules the user has in a namespace ("" for cluster-wide ones only), and what could not be resolved."""
        self._follow(view)
        rules: dict[Rule, None] = {}
        missing: dict[str, None] = {}
        for binding, _ in self._bound(user, namespace):
            found = self._roles.get(binding.role)
            if found is None:
                missing[_not_found(binding.role)] = None
            else:
                rules.update(dict.fromkeys(found))
        return list(rules), list(missing)

    def role_rules(self, role: RoleKey, view: CachedView) -> tuple[Rule, ...] | None:
        self._follow(view)
        return self._roles.get(role)

    def _bound(self, user: UserInfo, namespace: str) -> Iterator[tuple[Binding, Subject]]:
        """The user's bindings that count in `namespace`, cluster-wide ones first; one that names several of its subjects comes several times."""
        subjects: list[Subject] = [("User", user.name)]
        subjects += [("Group", group) for group in user.groups]
        for scope in ("", namespace) if namespace else ("",):
            for subject in subjects:
                for binding in self._by_subject.get((scope, subject), {}).values():
                    yield binding, subject

    def _keep(self, kind: tuple[str, ...], decision: Decision) -> None:
        if len(self._decisions) >= _DECISIONS_KEPT:
            self._decisions.clear()
        self._decisions[kind] = decision

    def _follow(self, view: CachedView) -> None:
        seen = tuple([view.changes(resource) for resource in _INDEXED])
        if seen == self._seen:
            return
        self._decisions.clear()
        for resource in (CLUSTER_ROLES, ROLES):
            self._apply(resource, view, self._put_role)
        for resource in (CLUSTER_ROLE_BINDINGS, ROLE_BINDINGS):
            self._apply(resource, view, self._put_binding)
        self._seen = seen

    def _apply(self, resource: Resource, view: CachedView, put: Callable[[Resource, str, dict[str, Any] | None], None]) -> None:
        delta = view.delta(resource, self._marks[resource])
        if delta.reset:
            for key in self._keys(resource):
                put(resource, key, None)
        for key, obj in delta.changed:
            put(resource, key, obj)
        self._marks[resource] = delta.mark

    def _keys(self, resource: Resource) -> list[str]:
        if resource is CLUSTER_ROLES:
            return [name for namespace, name in self._roles if not namespace]
        if resource is ROLES:
            return [f"{namespace}/{name}" for namespace, name in self._roles if namespace]
        return [key for which, key in self._bindings if which is resource]

    def _put_role(self, resource: Resource, key: str, obj: dict[str, Any] | None) -> None:
        namespace, _, name = key.rpartition("/")
        if obj is None:
            self._roles.pop((namespace, name), None)
        else:
            self._roles[(namespace, name)] = tuple(Rule.of(rule) for rule in obj.get("rules") or ())

    def _put_binding(self, resource: Resource, key: str, obj: dict[str, Any] | None) -> None:
        old = self._bindings.pop((resource, key), None)
        if old is not None:
            for subject in old.subjects:
                bound = self._by_subject[(old.namespace, subject)]
                bound.pop(key, None)
                if not bound:
                    del self._by_subject[(old.namespace, subject)]
        if obj is not None:
            binding = binding_of(obj)
            self._bindings[(resource, key)] = binding
            for subject in binding.subjects:
                self._by_subject.setdefault((binding.namespace, subject), {})[key] = binding


def binding_of(obj: dict[str, Any]) -> Binding:
    """A RoleBinding or ClusterRoleBinding."""
    namespace = obj["metadata"].get("namespace") or ""
    subjects = {subject: None for item in obj.get("subjects") or () if (subject := _subject(item, namespace)) is not None}
    return Binding(namespace, obj["metadata"]["name"], role_of(obj), tuple(subjects))


def role_of(binding: dict[str, Any]) -> RoleKey:
    reference = binding.get("roleRef") or {}
    namespace = binding["metadata"].get("namespace") or "" if reference.get("kind") == "Role" else ""
    return namespace, reference.get("name", "")


def _subject(item: dict[str, Any], namespace: str) -> Subject | None:
    kind, name = item.get("kind"), item.get("name", "")
    if kind == "ServiceAccount":
        space = item.get("namespace") or namespace
        return ("User", f"system:serviceaccount:{space}:{name}") if space else None
    if kind in ("User", "Group"):
        return kind, name
    return None


def _not_found(role: RoleKey) -> str:
    return f'{"role" if role[0] else "clusterrole"}.{RBAC_GROUP} "{role[1]}" not found'


def _joined(messages: list[str]) -> str:
    unique = list(dict.fromkeys(messages))
    return unique[0] if len(unique) == 1 else "[" + ", ".join(unique) + "]"
