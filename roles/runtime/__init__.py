"""containerd with its CRI plugin, and the images that no registry could give it."""

import shlex
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, Protocol

from pyinfra.api.command import FileUploadCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.operation import operation
from pyinfra.context import host

from roles.base import packages
from roles.lib.commands import File, Steps
from roles.lib.facts import ContainerdImages
from roles.lib.files import files, render
from roles.lib.services import healthy, services, unit

PACKAGES = ("containerd", "runc", "containernetworking-plugins")
PAUSE_IMAGE = "registry.k8s.io/pause:3.10"


class Image(Protocol):
    """An OCI archive on the control host; `digest` is its manifest's."""

    @property
    def reference(self) -> str: ...
    @property
    def archive(self) -> Path: ...
    @property
    def digest(self) -> str: ...


def configuration(patience: float) -> str:
    return render("containerd/config.toml.j2", pause_image=PAUSE_IMAGE, patience=patience)


def _patience() -> float:
    return getattr(host.data, "patience", None) or 1


@deploy("Runtime")
def runtime(images: Sequence[Image]) -> None:
    packages(name="containerd's packages", wanted=PACKAGES)
    config = File("/etc/containerd/config.toml", configuration(_patience()))
    files(name="containerd's configuration", wanted=[config])
    services(name="containerd", units={"containerd.service": unit("containerd.service.j2", reads=[config])})
    healthy(name="containerd answers", units={"containerd.service": "run ctr version"})
    load_images(name="Images", wanted=images)


@operation()
def load_images(wanted: Sequence[Image]) -> Generator[Any, None, None]:
    """Imports those that containerd does not have, or has with another content."""
    present = host.get_fact(ContainerdImages)
    # Not unpacked before a container is made of it: most machines never run most images.  But a machine that needs patience would not be done within
    # the time that making a container may take, time and again.
    unpacking = "" if _patience() > 1 else "--no-unpack "
    missing = {f"/var/tmp/{image.archive.name}": image for image in wanted if present.get(image.reference) != image.digest}
    for there, image in missing.items():
        yield FileUploadCommand(str(image.archive), there)
    if missing:
        yield Steps(*(f"ctr --namespace k8s.io images import {unpacking}{shlex.quote(there)} && rm {shlex.quote(there)}" for there in missing))
