"""The pod's quality of service class: which pods suffer first when memory runs out."""

from decimal import Decimal

from k8sfromscratch.api.quantity import parse_quantity

from . import spec
from .spec import Object

_COUNTED = ("cpu", "memory")


def qos_class(pod: Object) -> str:
    """Guaranteed: every container limits cpu and memory and requests just that.  BestEffort: none asks for anything.  Else Burstable."""
    asked = False
    guaranteed = True
    for container in spec.all_containers(pod):
        resources = container.get("resources") or {}
        limits = _amounts(resources.get("limits"))
        requests = _amounts(resources.get("requests"))
        asked = asked or bool(limits or requests)
        for name in _COUNTED:
            if name not in limits or requests.get(name, limits[name]) != limits[name]:
                guaranteed = False
    if not asked:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _amounts(resources: Object | None) -> dict[str, Decimal]:
    """cpu and memory that are not zero."""
    parsed = {name: parse_quantity(str(value)) for name, value in (resources or {}).items() if name in _COUNTED}
    return {name: amount for name, amount in parsed.items() if amount > 0}
