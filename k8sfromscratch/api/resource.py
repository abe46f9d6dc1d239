"""What a resource is to everyone who speaks of one: the server's routes, the client's paths, discovery, RBAC.

The table of built-in resources is `api.registry`; a CustomResourceDefinition makes the same value at run time.
"""

from dataclasses import astuple, dataclass, field


@dataclass(frozen=True, slots=True)
class Resource:
    """One served group/version/plural.

    `verbs` are discovery's (`create delete deletecollection get list patch update watch`).
    `subresources` are their path segments (`status`, `scale`, `log`, …).  `listed_as` is the list's kind where that is not the usual one.
    `custom` marks what a CustomResourceDefinition has made.
    """

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True
    singular: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    verbs: tuple[str, ...] = field(default=("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"))
    listed_as: str = ""
    custom: bool = False

    def __eq__(self, other: object) -> bool:
        # Asked several times a request, nearly always of the same object or of another plural: the generated comparison makes two tuples first.
        if self is other:
            return True
        return isinstance(other, Resource) and self.plural == other.plural and astuple(self) == astuple(other)

    def __hash__(self) -> int:
        return hash((self.group, self.version, self.plural))

    @property
    def api_version(self) -> str:
        """`v1` or `apps/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def group_resource(self) -> str:
        """`pods` or `deployments.apps`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def list_kind(self) -> str:
        return self.listed_as or f"{self.kind}List"

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The REST path: `/api/v1/namespaces/default/pods/x/log`.  `namespace=None` on a namespaced resource means all of them."""
        parts = ["/apis", self.group, self.version] if self.group else ["/api", self.version]
        if namespace is not None and self.namespaced:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name is not None:
            parts.append(name)
        if subresource is not None:
            parts.append(subresource)
        return "/".join(parts)
