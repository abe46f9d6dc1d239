"""The volumes of pods on disk, where the containers' mounts point.

    ROOT/pods/UID/volumes/kubernetes.io~TYPE/NAME     emptyDir, configMap, secret, projected, downwardAPI
    ROOT/pods/UID/containers/NAME/ATTEMPT             termination messages
    ROOT/pods/UID/etc-hosts

Nothing is remembered: every step looks at the disk and can be repeated, so a kubelet that restarts goes on where it was.  Secrets and tokens live
in a tmpfs.  What a volume's files are is decided in `core.pods.volumes`.
"""

import asyncio
import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from k8sfromscratch.api.quantity import parse_bytes
from k8sfromscratch.core.pods.environment import ConfigError, expand
from k8sfromscratch.core.pods.runtime_config import Mount
from k8sfromscratch.core.pods.volumes import FROM_OBJECTS, VolumeSources, token_requests, volume_files, volume_references, volume_type
from k8sfromscratch.linux import mounts

from .atomic_writer import write_files
from .sources import FRESH_S, Sources

Object = dict[str, Any]

TERMINATION_MESSAGE_BYTES_MAX = 4096
_PLUGINS = {"emptyDir": "empty-dir", "configMap": "configmap", "secret": "secret", "projected": "projected", "downwardAPI": "downward-api"}
_ON_TMPFS = ("secret", "projected")


class Mounter(Protocol):
    """`linux.mounts`, as far as it is used here."""

    def mount_tmpfs(self, target: Path, *, size_bytes: int = 0, mode: int = 0o777) -> None: ...

    def unmount(self, target: Path) -> None: ...

    def mount_points(self, below: Path) -> list[Path]: ...


class Volumes:
    def __init__(self, root: Path, sources: Sources, mounter: Mounter = mounts) -> None:
        self._root = root / "pods"
        self._sources = sources
        self._mounter = mounter

    def pod_directory(self, uid: str) -> Path:
        return self._root / uid

    def known_pods(self) -> list[str]:
        """UIDs with a directory, those of pods long gone included."""
        return sorted(entry.name for entry in self._root.iterdir()) if self._root.is_dir() else []

    # Setting up

    async def set_up(self, pod: Object, node_allocatable: Mapping[str, str], host_ips: tuple[str, ...], age_max_s: float = FRESH_S) -> None:
        """Makes every volume there and up to date.  Raises ConfigError, OSError, ApiError, TransportError, naming the volume where it can."""
        directory = self.pod_directory(pod["metadata"]["uid"])
        directory.mkdir(parents=True, exist_ok=True, mode=0o750)
        for volume in pod["spec"].get("volumes") or []:
            kind = volume_type(volume)
            if kind == "hostPath":
                _check_host_path(volume)
                continue
            path = self._path(pod, volume)
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
            if kind == "emptyDir":
                self._set_up_empty_dir(pod, volume, path)
            elif kind in FROM_OBJECTS:
                await self._set_up_files(pod, volume, kind, path, node_allocatable, host_ips, age_max_s)

    def _path(self, pod: Object, volume: Object) -> Path:
        return self.pod_directory(pod["metadata"]["uid"]) / "volumes" / f"kubernetes.io~{_PLUGINS[volume_type(volume)]}" / str(volume["name"])

    def _set_up_empty_dir(self, pod: Object, volume: Object, path: Path) -> None:
        options = volume.get("emptyDir") or {}
        medium = options.get("medium") or ""
        if medium not in ("", "Memory"):
            raise ConfigError(f"volume {volume['name']!r}: emptyDir medium {medium!r} is not supported")
        fresh = not path.exists()
        path.mkdir(exist_ok=True)
        if medium == "Memory" and path not in self._mounter.mount_points(path):
            self._mounter.mount_tmpfs(path, size_bytes=parse_bytes(str(options["sizeLimit"])) if options.get("sizeLimit") else 0)
            fresh = True
        if fresh:
            path.chmod(0o777)
            gid = _fs_group(pod)
            if gid is not None:
                os.chown(path, -1, gid)
                path.chmod(0o2777)

    async def _set_up_files(
        self, pod: Object, volume: Object, kind: str, path: Path, node_allocatable: Mapping[str, str], host_ips: tuple[str, ...], age_max_s: float
    ) -> None:
        config_maps, secrets = await self._sources.fetch(pod["metadata"]["namespace"], volume_references(volume), age_max_s)
        tokens = {request: await self._sources.token(pod, request) for request in token_requests(volume)}
        files = volume_files(pod, volume, VolumeSources(config_maps, secrets, tokens, host_ips=host_ips, node_allocatable=node_allocatable))
        path.mkdir(exist_ok=True, mode=0o755)
        if kind in _ON_TMPFS and path not in self._mounter.mount_points(path):
            self._mounter.mount_tmpfs(path, mode=0o755)
        write_files(path, files, owner_gid=_fs_group(pod))

    # For containers

    def container_mounts(self, pod: Object, container: Object, attempt: int, env: Mapping[str, str]) -> list[Mount]:
        """Of the volumes that `set_up` has made, /etc/hosts (which `write_hosts` has made) and the termination message's file."""
        volumes = {v["name"]: v for v in pod["spec"].get("volumes") or []}
        found = []
        for mount in container.get("volumeMounts") or []:
            volume = volumes.get(mount["name"])
            if volume is None:
                raise ConfigError(f"container {container['name']}: volume {mount['name']!r} is not one of the pod's")
            if mount.get("recursiveReadOnly") == "Enabled":
                raise ConfigError(f"container {container['name']}: recursiveReadOnly: Enabled is not supported")
            host_path = Path(volume["hostPath"]["path"]) if volume_type(volume) == "hostPath" else self._path(pod, volume)
            sub_path = expand(mount["subPathExpr"], env) if mount.get("subPathExpr") else mount.get("subPath") or ""
            if sub_path:
                host_path = _sub_path(host_path, sub_path, volume["name"])
            found.append(Mount(mount["mountPath"], str(host_path), bool(mount.get("readOnly")), mount.get("mountPropagation") or "None"))
        taken = {mount.container_path.rstrip("/") for mount in found}
        hosts = self.pod_directory(pod["metadata"]["uid"]) / "etc-hosts"
        if "/etc/hosts" not in taken and hosts.exists():
            found.append(Mount("/etc/hosts", str(hosts)))
        message_path = container.get("terminationMessagePath") or "/dev/termination-log"
        if message_path not in taken:
            found.append(Mount(message_path, str(self._make_termination_log(pod, container["name"], attempt))))
        return found

    def write_hosts(self, pod: Object, content: str) -> None:
        path = self.pod_directory(pod["metadata"]["uid"]) / "etc-hosts"
        path.write_text(content)
        path.chmod(0o644)

    def _termination_log(self, uid: str, name: str, attempt: int) -> Path:
        return self.pod_directory(uid) / "containers" / name / str(attempt)

    def _make_termination_log(self, pod: Object, name: str, attempt: int) -> Path:
        path = self._termination_log(pod["metadata"]["uid"], name, attempt)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        path.write_bytes(b"")
        path.chmod(0o666)
        return path

    def termination_message(self, uid: str, name: str, attempt: int) -> str:
        """What the container left, or nothing."""
        path = self._termination_log(uid, name, attempt)
        if not path.is_file():
            return ""
        with path.open("rb") as stream:
            return stream.read(TERMINATION_MESSAGE_BYTES_MAX).decode(errors="replace")

    # Tearing down

    async def tear_down_volumes(self, uid: str) -> None:
        """Unmounts and deletes a pod's volumes; what its containers left to be read stays.  Raises OSError."""
        await self._delete(self.pod_directory(uid) / "volumes")

    async def remove_pod(self, uid: str, log_directory: str = "") -> None:
        """Everything of the pod, its logs too where it is known which they are.  Raises OSError."""
        await self._delete(self.pod_directory(uid))
        if log_directory:
            await self._delete(Path(log_directory))

    async def _delete(self, directory: Path) -> None:
        if not directory.exists():
            return
        for point in self._mounter.mount_points(directory):
            self._mounter.unmount(point)
        left = self._mounter.mount_points(directory)
        if left:
            raise OSError(f"{left[0]} is still mounted: nothing below {directory} is deleted")
        await asyncio.to_thread(shutil.rmtree, directory)


def _fs_group(pod: Object) -> int | None:
    gid = (pod["spec"].get("securityContext") or {}).get("fsGroup")
    return None if gid is None else int(gid)


_HOST_PATH_CHECKS = {"Directory": stat.S_ISDIR, "File": stat.S_ISREG, "Socket": stat.S_ISSOCK, "CharDevice": stat.S_ISCHR, "BlockDevice": stat.S_ISBLK}


def _check_host_path(volume: Object) -> None:
    path = Path(volume["hostPath"]["path"])
    kind = volume["hostPath"].get("type") or ""
    if kind == "DirectoryOrCreate":
        path.mkdir(parents=True, exist_ok=True, mode=0o755)
    elif kind == "FileOrCreate":
        path.touch(exist_ok=True, mode=0o644)
    base = kind.removesuffix("OrCreate")
    check = _HOST_PATH_CHECKS.get(base)
    if kind and check is None:
        raise ConfigError(f"volume {volume['name']!r}: hostPath type {kind!r} is not supported")
    if check is not None and not (path.exists() and check(path.stat().st_mode)):
        raise ConfigError(f"volume {volume['name']!r}: hostPath type check failed: {path} is not a {base.lower()}")


def _sub_path(volume: Path, sub_path: str, name: str) -> Path:
    """Resolved once, here: a link that leads out of the volume is refused.  What is missing becomes a directory."""
    root = volume.resolve()
    target = (root / sub_path).resolve()
    if sub_path.startswith("/") or not target.is_relative_to(root):
        raise ConfigError(f"volume {name!r}: subPath {sub_path!r} leads out of the volume")
    if not target.exists():
        target.mkdir(parents=True, mode=0o750)
        target.chmod(0o777 & root.stat().st_mode)
    return target
