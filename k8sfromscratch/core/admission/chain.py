"""The order of admission, in one table.

A mutating plugin sees what those before it wrote; all validating ones see the final object.  Upstream's order, with upstream's
names for --enable-admission-plugins and --disable-admission-plugins.
"""

from collections.abc import Sequence

from k8sfromscratch.core.admission.types import AdmissionRequest, Plugin, View


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
