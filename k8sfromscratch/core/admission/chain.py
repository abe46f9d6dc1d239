"""The order of admission, in one table.

A mutating plugin sees what those before it wrote; all validating ones see the final object.  Names are upstream's, for
--enable-admission-plugins and --disable-admission-plugins.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

from k8sfromscratch.core.admission.default_toleration_seconds import DefaultTolerationSeconds
from k8sfromscratch.core.admission.namespace_lifecycle import NamespaceLifecycle
from k8sfromscratch.core.admission.noderestriction import NodeRestriction
from k8sfromscratch.core.admission.priority import Priority
from k8sfromscratch.core.admission.serviceaccount import ServiceAccount
from k8sfromscratch.core.admission.types import AdmissionRequest, Plugin, View

RandomSuffix = Callable[[], str]
"""Five characters, new ones each time."""

# In the order in which they run.  NodeRestriction is off by default upstream, though no cluster should be without it.
PLUGINS: Mapping[str, Callable[[RandomSuffix], Plugin]] = {
    "NamespaceLifecycle": lambda random_suffix: NamespaceLifecycle(),
    "ServiceAccount": ServiceAccount,
    "NodeRestriction": lambda random_suffix: NodeRestriction(),
    "DefaultTolerationSeconds": lambda random_suffix: DefaultTolerationSeconds(),
    "Priority": lambda random_suffix: Priority(),
}


class UnknownPlugin(ValueError):
    """The message names it, and those there are."""


class Chain:
    def __init__(self, plugins: Sequence[Plugin]) -> None:
        self._plugins = tuple(plugins)

    def mutate(self, request: AdmissionRequest, view: View) -> None:
        for plugin in self._plugins:
            plugin.mutate(request, view)

    def validate(self, request: AdmissionRequest, view: View) -> None:
        for plugin in self._plugins:
            plugin.validate(request, view)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(plugin.name for plugin in self._plugins)


def chain(random_suffix: RandomSuffix, *, enable: Collection[str] = (), disable: Collection[str] = (), always: Sequence[Plugin] = ()) -> Chain:
    """All plugins but those of `disable`, then those that run always.  `enable` only names what must be there.  Raises UnknownPlugin."""
    for name in (*enable, *disable):
        if name not in PLUGINS:
            raise UnknownPlugin(f'admission plugin "{name}" is unknown: there are {", ".join(PLUGINS)}')
    return Chain([*(make(random_suffix) for name, make in PLUGINS.items() if name not in disable), *always])
