"""Which of several classes is the default one: the newest that is marked, by name where two are of one age."""

from collections.abc import Iterable, Sequence

from k8sfromscratch.core.admission.types import Object


def newest_default(classes: Iterable[Object], marks: Sequence[str]) -> Object | None:
    """`marks`: annotations that say "true" on a default class.  None where no class is marked."""
    marked = [one for one in classes if any((one["metadata"].get("annotations") or {}).get(mark) == "true" for mark in marks)]
    marked.sort(key=lambda one: str(one["metadata"]["name"]))
    # Stable: among those of the newest age the first by name stays in front.
    marked.sort(key=lambda one: str(one["metadata"].get("creationTimestamp") or ""), reverse=True)
    return marked[0] if marked else None
