"""Where objects live in the store: `/registry/<directory>/[<namespace>/]<name>`, upstream's layout.

Built-in kinds have their plural as directory, but for a few old names; kinds of other groups have `<group>/<plural>`.
"""

from k8sfromscratch.api.resource import Resource

ROOT = b"/registry/"

_OLD_NAMES = {
    "nodes": "minions",
    "services": "services/specs",
    "endpoints": "services/endpoints",
    "replicationcontrollers": "controllers",
    "ingresses.networking.k8s.io": "ingress",
    "customresourcedefinitions.apiextensions.k8s.io": "apiextensions.k8s.io/customresourcedefinitions",
    "apiservices.apiregistration.k8s.io": "apiregistration.k8s.io/apiservices",
}


def directory(resource: Resource, *, built_in: bool) -> str:
    """`pods`, `services/specs`, `stable.example.com/crontabs`."""
    old = _OLD_NAMES.get(resource.group_resource)
    if old is not None:
        return old
    return resource.plural if built_in else f"{resource.group}/{resource.plural}"


def object_key(name: str, namespace: str | None) -> str:
    """The part behind the directory, which is also how the caches name an object."""
    return f"{namespace}/{name}" if namespace else name
