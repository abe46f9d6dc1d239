"""The order of admission, in one table.

A mutating plugin sees what those before it wrote; all validating ones see the final object.  Names are upstream's, for
--enable-admission-plugins and --disable-admission-plugins.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

from k8sfromscratch.core.admission.default_toleration_seconds import DefaultTolerationSeconds
from k8sfromscratch.core.admission.namespace_lifecycle import NamespaceLifecycle
from k8sfromscratch.core.admission.priority import Priority
from k8sfromscratch.core.admission.types import AdmissionRequest, Plugin, View

# name → (how to make one, whether it runs unless it is disabled)
PLUGINS: Mapping[str, tuple[Callable[[], Plugin], bool]] = {
    "NamespaceLifecycle": (NamespaceLifecycle, True),
    "DefaultTolerationSeconds": (DefaultTolerationSeconds, True),
    "Priority": (Priority, True),
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


def chain(enable: Collection[str] = (), disable: Collection[str] = ()) -> Chain:
    """The plugins that are on by default, and those of `enable`, without those of `disable`.  Raises UnknownPlugin."""
    for name in (*enable, *disable):
        if name not in PLUGINS:
            raise UnknownPlugin(f'admission plugin "{name}" is unknown: there are {", ".join(PLUGINS)}')
    return Chain([make() for name, (make, by_default) in PLUGINS.items() if (by_default or name in enable) and name not in disable])
