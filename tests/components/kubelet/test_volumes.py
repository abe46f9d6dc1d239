"""Volumes on disk, without privileges: mounts are only noted."""

import asyncio
import socket
from pathlib import Path

import pytest

from k8sfromscratch.components.kubelet.sources import Sources
from k8sfromscratch.components.kubelet.volumes import Volumes
from k8sfromscratch.core.pods.environment import ConfigError
from k8sfromscratch.linux import mounts
from k8sfromscratch.process.clock import Env
from k8sfromscratch.testing.pod_machine import make_pod


class Mounter:
    def __init__(self) -> None:
        self.mounted: dict[Path, int] = {}

    def mount_tmpfs(self, target: Path, *, size_bytes: int = 0, mode: int = 0o777) -> None:
        self.mounted[target] = size_bytes

    def unmount(self, target: Path) -> None:
        del self.mounted[target]

    def mount_points(self, below: Path) -> list[Path]:
        return [point for point in self.mounted if point.is_relative_to(below)]


@pytest.fixture
def mounter() -> Mounter:
    return Mounter()


@pytest.fixture
def volumes(tmp_path, mounter) -> Volumes:
    return Volumes(tmp_path, Sources(None, Env()), mounter)


def set_up(volumes: Volumes, pod: dict) -> None:
    asyncio.run(volumes.set_up(pod, {}, ()))


def pod_with(volume: dict, **mount) -> dict:
    return make_pod({"name": "app", "volumeMounts": [{"name": "v", "mountPath": "/v", **mount}]}, volumes=[{"name": "v", **volume}])


def mounted(volumes: Volumes, pod: dict) -> dict[str, str]:
    return {m.container_path: m.host_path for m in volumes.container_mounts(pod, pod["spec"]["containers"][0], 0, {"WHO": "me"})}


def test_an_empty_dir_keeps_its_content_until_the_pod_ends(volumes, tmp_path):
    pod = pod_with({"emptyDir": {}})
    set_up(volumes, pod)
    path = Path(mounted(volumes, pod)["/v"])
    assert path == tmp_path / "pods/u1/volumes/kubernetes.io~empty-dir/v"
    assert oct(path.stat().st_mode & 0o777) == "0o777"
    (path / "file").write_text("x")
    set_up(volumes, pod)
    assert (path / "file").read_text() == "x"
    asyncio.run(volumes.tear_down_volumes("u1"))
    assert not path.exists()
    assert volumes.termination_message("u1", "app", 0) == ""


def test_memory_is_mounted_once_with_its_size_and_unmounted_first(volumes, mounter):
    pod = pod_with({"emptyDir": {"medium": "Memory", "sizeLimit": "2Mi"}})
    set_up(volumes, pod)
    set_up(volumes, pod)
    assert list(mounter.mounted.values()) == [2 << 20]
    asyncio.run(volumes.remove_pod("u1"))
    assert mounter.mounted == {}
    assert volumes.known_pods() == []


def test_nothing_is_deleted_below_what_cannot_be_unmounted(volumes, mounter, monkeypatch):
    pod = pod_with({"emptyDir": {"medium": "Memory"}})
    set_up(volumes, pod)
    monkeypatch.setattr(mounter, "unmount", lambda target: None)
    with pytest.raises(OSError, match="still mounted"):
        asyncio.run(volumes.remove_pod("u1"))
    assert volumes.known_pods() == ["u1"]


def test_sub_paths_stay_in_their_volume(volumes):
    pod = pod_with({"emptyDir": {}}, subPathExpr="$(WHO)/logs")
    set_up(volumes, pod)
    path = Path(mounted(volumes, pod)["/v"])
    assert path.parts[-3:] == ("v", "me", "logs")
    assert path.is_dir()
    (path.parent.parent / "out").symlink_to("/etc")
    for escape in ("../x", "/etc", "out/passwd"):
        with pytest.raises(ConfigError, match="leads out of the volume"):
            mounted(volumes, pod_with({"emptyDir": {}}, subPath=escape))


@pytest.mark.parametrize(
    ("kind", "made", "fits"),
    [
        ("", None, True),
        ("DirectoryOrCreate", None, True),
        ("FileOrCreate", None, True),
        ("Directory", None, False),
        ("Directory", "dir", True),
        ("File", "dir", False),
        ("File", "file", True),
        ("Socket", "file", False),
        ("Socket", "socket", True),
        ("CharDevice", "file", False),
    ],
)
def test_host_path_types(volumes, tmp_path, kind, made, fits):
    path = tmp_path / "host"
    listener = socket.socket(socket.AF_UNIX)
    match made:
        case "dir":
            path.mkdir()
        case "file":
            path.touch()
        case "socket":
            listener.bind(str(path))
    pod = pod_with({"hostPath": {"path": str(path), "type": kind}})
    if fits:
        set_up(volumes, pod)
        assert mounted(volumes, pod)["/v"] == str(path)
    else:
        with pytest.raises(ConfigError, match="hostPath type check failed"):
            set_up(volumes, pod)
    listener.close()


def test_what_is_refused(volumes):
    with pytest.raises(ConfigError, match="medium 'HugePages' is not supported"):
        set_up(volumes, pod_with({"emptyDir": {"medium": "HugePages"}}))
    with pytest.raises(ConfigError, match="recursiveReadOnly"):
        mounted(volumes, pod_with({"emptyDir": {}}, recursiveReadOnly="Enabled"))
    with pytest.raises(ConfigError, match="is not one of the pod's"):
        mounted(volumes, make_pod({"name": "app", "volumeMounts": [{"name": "x", "mountPath": "/x"}]}))


def test_termination_messages_are_read_up_to_their_limit(volumes):
    pod = make_pod("app")
    set_up(volumes, pod)
    path = Path(mounted(volumes, pod)["/dev/termination-log"])
    path.write_bytes(b"x" * 5000)
    assert len(volumes.termination_message("u1", "app", 0)) == 4096


def test_a_tmpfs_that_is_real(needs, tmp_path):
    needs(root=True)
    target = tmp_path / "with blank"
    target.mkdir()
    mounts.mount_tmpfs(target, size_bytes=1 << 20)
    try:
        assert mounts.mount_points(tmp_path) == [target]
    finally:
        mounts.unmount(target)
    assert mounts.mount_points(tmp_path) == []
    with pytest.raises(OSError, match="with blank"):
        mounts.unmount(target)
