"""What a deploy takes from the control host: Python environment and container images, made once a run, nothing changed if they are there.

`deploy.py` runs once for every host, in greenlets of one process; the first one makes the artifacts, the others wait for it.
"""

import threading
from dataclasses import dataclass
from functools import cache

from k8sfromscratch.lab import environment, images, wheelhouse
from k8sfromscratch.lab.environment import Environment
from k8sfromscratch.lab.images import Image

_LOCK = threading.Lock()


@dataclass(frozen=True)
class Artifacts:
    environment: Environment
    images: tuple[Image, ...]

    def image(self, name: str) -> Image:
        return next(image for image in self.images if image.name == name)


def ensure() -> Artifacts:
    with _LOCK:
        return _ensure()


@cache
def _ensure() -> Artifacts:
    wheels = wheelhouse.ensure()
    return Artifacts(environment.ensure(wheels), tuple(images.ensure(wheels)))
