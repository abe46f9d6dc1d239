"""Nobody may grant more than they hold: the check on writes of roles and bindings.

A Role's rules must all be held by who writes it, in that namespace; a binding's role likewise.  The verbs `escalate` (on roles) and
`bind` (on the role that is bound) lift this.  Upstream does it in the storage of these resources; here it is an admission plugin that is
always on while RBAC decides.
"""

from collections.abc import Sequence
from typing import Any, cast

from k8sfromscratch.api.errors import forbidden
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.core.admission.types import AdmissionRequest, View
from k8sfromscratch.core.authz.chain import MASTERS_GROUP, AuthorizerChain
from k8sfromscratch.core.authz.rbac import RBAC_GROUP, RbacAuthorizer, role_of
from k8sfromscratch.core.authz.rules import Rule, uncovered
from k8sfromscratch.core.authz.types import Attributes, UserInfo
from k8sfromscratch.core.authz.view import CachedView

_LISTED_MAX = 20
"""How many missing rights an error names: enough to act on, short enough to read."""


class EscalationCheck:
    name = "RBACEscalationCheck"

    def __init__(self, chain: AuthorizerChain, rbac: RbacAuthorizer) -> None:
        self._chain, self._rbac = chain, rbac

    def mutate(self, request: AdmissionRequest, view: View) -> None:
        return None

    def validate(self, request: AdmissionRequest, view: View) -> None:
        obj = request.obj
        # Roles and bindings are judged with the authorizers' own indexes, which follow the apiserver's one view.
        cached = cast(CachedView, view)
        if request.resource.group != RBAC_GROUP or request.operation not in ("CREATE", "UPDATE") or obj is None or MASTERS_GROUP in request.user.groups:
            return
        match request.resource.plural:
            case "roles" | "clusterroles":
                self._role(request, obj, cached)
            case "rolebindings" | "clusterrolebindings":
                self._binding(request, obj, cached)

    def _role(self, request: AdmissionRequest, obj: dict[str, Any], view: CachedView) -> None:
        old = request.old or {}
        if request.old is not None and all((obj.get(part) or None) == (old.get(part) or None) for part in ("rules", "aggregationRule")):
            return
        if self._may(request.user, "escalate", request.namespace, request.resource.plural, request.name, view):
            return
        wanted = [Rule.of(rule) for rule in obj.get("rules") or ()]
        if obj.get("aggregationRule"):
            # What it will hold is not known yet.
            wanted = [Rule(*[frozenset("*")] * 3), Rule(frozenset("*"), urls=frozenset("*"))]
        self._check(request.resource, request.name, request.namespace, request.user, wanted, view)

    def _binding(self, request: AdmissionRequest, obj: dict[str, Any], view: CachedView) -> None:
        old = request.old
        if old is not None and all((obj.get(part) or None) == (old.get(part) or None) for part in ("roleRef", "subjects")):
            return
        namespace, role = role_of(obj)
        if self._may(request.user, "bind", request.namespace, "roles" if namespace else "clusterroles", role, view):
            return
        rules = self._rbac.role_rules((namespace, role), view)
        if rules is None:
            kind = "role" if namespace else "clusterrole"
            raise forbidden(
                request.resource.plural, request.name, RBAC_GROUP, f'{kind}.{RBAC_GROUP} "{role}" not found, so that it cannot be told what it grants'
            )
        self._check(request.resource, request.name, request.namespace, request.user, rules, view)

    def _may(self, user: UserInfo, verb: str, namespace: str, resource: str, name: str, view: CachedView) -> bool:
        asked = Attributes(user, verb, namespace, RBAC_GROUP, "v1", resource, "", name)
        return self._chain.authorize(asked, view).allowed

    def _check(self, resource: Resource, name: str, namespace: str, user: UserInfo, wanted: Sequence[Rule], view: CachedView) -> None:
        held, missing_roles = self._rbac.rules_for(user, namespace, view)
        missing = uncovered(held, wanted)
        if not missing:
            return
        listed = [_text(rule) for rule in sorted(missing, key=_text)]
        if len(listed) > _LISTED_MAX:
            listed[_LISTED_MAX:] = [f"and {len(listed) - _LISTED_MAX} more"]
        groups = " ".join(f'"{group}"' for group in user.groups)
        unresolved = f"; resolution errors: [{', '.join(missing_roles)}]" if missing_roles else ""
        why = f'user "{user.name}" (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:\n' + "\n".join(listed) + unresolved
        raise forbidden(resource.plural, name, RBAC_GROUP, why)


def _text(rule: Rule) -> str:
    fields = {"APIGroups": rule.groups, "Resources": rule.resources, "ResourceNames": rule.names, "NonResourceURLs": rule.urls, "Verbs": rule.verbs}
    parts = [f"{name}:[" + ", ".join(f'"{value}"' for value in sorted(values)) + "]" for name, values in fields.items() if values]
    return "{" + ", ".join(parts) + "}"
