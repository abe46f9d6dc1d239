"""What a deploy takes from the control host: Python environment and container images, made once a run, nothing changed if they are there.

`deploy.py` runs once for every host, in greenlets of one process; the first one makes the artifacts, the others wait for it.
"""

import threading
from dataclasses import dataclass
from functools import cache

from k8sfromscratch.lab import environment, images, wheelhouse
from k8sfromscratch.lab.environment import Environment
from k8sfromscratch.lab.images import Image
from k8sfromscratch.lab.turns import turn
from k8sfromscratch.lab.wheelhouse import NODE_PYTHON

_LOCK = threading.Lock()


@dataclass(frozen=True)
class Artifacts:
    environment: Environment
    images: tuple[Image, ...]

    def image(self, name: str) -> Image:
        return next(image for image in self.images if image.name == name)


def ensure(python: str = NODE_PYTHON) -> Artifacts:
    """For machines with that Python; images are the same for all, with a Python of their own."""
    with _LOCK:
        return Artifacts(_environment(python), _images())


@cache
def _environment(python: str) -> Environment:
    with turn("environment"):
        return environment.ensure(wheelhouse.ensure(python))


@cache
def _images() -> tuple[Image, ...]:
    made = _environment(NODE_PYTHON)
    with turn("images"):
        return tuple(images.ensure(made))
