"""Amounts of resources as limits and quotas compute with them: exact, and printed in the family of suffixes they came in.

requests of a pod   the sum of its containers and sidecars, or what its largest init container needs, whichever is more;
                    what the pod itself states (spec.resources, KEP-2837) stands above that; its overhead comes on top
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from k8sfromscratch.api.quantity import Form, format_quantity, parse_quantity

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Amount:
    value: Decimal
    form: Form = "DecimalSI"

    @classmethod
    def parse(cls, text: Any) -> "Amount":
        """Raises ValueError."""
        written = str(text)
        form: Form = "BinarySI" if written.endswith("i") else "DecimalExponent" if written.rstrip("0123456789+-").endswith(("e", "E")) else "DecimalSI"
        # A final E is the suffix exa, not an exponent.
        if form == "DecimalExponent" and not written[-1].isdigit():
            form = "DecimalSI"
        return cls(parse_quantity(written), form)

    def __str__(self) -> str:
        return format_quantity(self.value, self.form)

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(self.value + other.value, self.form if self.value else other.form)

    def __sub__(self, other: "Amount") -> "Amount":
        return Amount(self.value - other.value, self.form if self.value else other.form)


Amounts = dict[str, Amount]

ZERO = Amount(Decimal(0))
ONE = Amount(Decimal(1))
_POD_LEVEL = ("cpu", "memory")


def parse(resources: Mapping[str, Any] | None) -> Amounts:
    return {name: Amount.parse(value) for name, value in (resources or {}).items()}


def texts(amounts: Mapping[str, Amount]) -> dict[str, str]:
    return {name: str(amount) for name, amount in amounts.items()}


def added(*parts: Mapping[str, Amount]) -> Amounts:
    total: Amounts = {}
    for part in parts:
        for name, amount in part.items():
            total[name] = total[name] + amount if name in total else amount
    return total


def subtracted(first: Mapping[str, Amount], second: Mapping[str, Amount]) -> Amounts:
    """Names of both; what only `second` has comes out negative."""
    return {name: first.get(name, ZERO) - second.get(name, ZERO) for name in {**first, **second}}


def larger(first: Mapping[str, Amount], second: Mapping[str, Amount]) -> Amounts:
    return {name: max(first.get(name, ZERO), second.get(name, ZERO), key=lambda amount: amount.value) for name in {**first, **second}}


def pod_requests(pod: Object) -> Amounts:
    spec = pod.get("spec") or {}
    return added(_pod_level(spec, "requests", _effective(spec, lambda container: _of(container, "requests"))), parse(spec.get("overhead")))


def pod_limits(pod: Object) -> Amounts:
    """Overhead counts where there is a limit at all."""
    spec = pod.get("spec") or {}
    limits = _pod_level(spec, "limits", _effective(spec, lambda container: _of(container, "limits")))
    overhead = {name: amount for name, amount in parse(spec.get("overhead")).items() if name in limits and limits[name].value}
    return added(limits, overhead)


def _of(container: Object, part: str) -> Amounts:
    return parse((container.get("resources") or {}).get(part))


def _effective(spec: Object, amounts_of: Callable[[Object], Amounts]) -> Amounts:
    running = added(*(amounts_of(container) for container in _listed(spec, "containers")))
    sidecars: Amounts = {}
    starting: Amounts = {}
    for container in _listed(spec, "initContainers"):
        own = amounts_of(container)
        if container.get("restartPolicy") == "Always":
            running, sidecars = added(running, own), added(sidecars, own)
            starting = larger(starting, sidecars)
        else:
            starting = larger(starting, added(own, sidecars))
    return larger(running, starting)


def _pod_level(spec: Object, part: str, amounts: Amounts) -> Amounts:
    stated = parse((spec.get("resources") or {}).get(part))
    return amounts | {name: amount for name, amount in stated.items() if name in _POD_LEVEL or name.startswith("hugepages-")}


def _listed(spec: Object, kind: str) -> Iterable[Object]:
    return spec.get(kind) or ()
