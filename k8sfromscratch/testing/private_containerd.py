"""A containerd of a test's own: its own root, state and socket below one directory, a point-to-point pod network, two images made on the spot.

Needs root and the programs containerd, ctr, runc and busybox (static), and the reference CNI plugins.  What it made is gone after `stop`:
containers, network namespaces, mounts.
"""

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from k8sfromscratch.lab.oci import ImageConfig, make_layer, write_archive
from k8sfromscratch.runtime.cri import CriRuntime

PROGRAMS = ("containerd", "ctr", "runc", "busybox")
CNI_PLUGINS = "/usr/lib/cni"
PAUSE = "registry.k8s.io/pause:3.10"
BUSYBOX = "docker.io/library/busybox:latest"
START_TIMEOUT_S = 120.0

_CONFIG = """\
version = 2
root = "{base}/root"
state = "{base}/state"
oom_score = 0
[grpc]
  address = "{base}/containerd.sock"
[debug]
  address = "{base}/debug.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{base}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  enable_selinux = false
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{base}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"""

_NETWORK = """\
{{"cniVersion": "0.3.1", "name": "kfs-test", "plugins": [
  {{"type": "ptp", "ipMasq": false, "ipam": {{"type": "host-local", "subnet": "{subnet}", "dataDir": "{base}/ipam"}}}}
]}}
"""


class PrivateContainerd:
    """`start` it, use `endpoint`, `stop` it; `restart` keeps containers running, as a containerd that is updated does."""

    def __init__(self, subnet: str = "10.213.77.0/24") -> None:
        self.base = Path(tempfile.mkdtemp(prefix="kfs-ctd-"))
        self.endpoint = f"unix://{self.base}/containerd.sock"
        self._subnet = subnet
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        (self.base / "cni").mkdir()
        (self.base / "cni" / "10-test.conflist").write_text(_NETWORK.format(base=self.base, subnet=self._subnet))
        (self.base / "config.toml").write_text(_CONFIG.format(base=self.base, pause=PAUSE, plugins=CNI_PLUGINS))
        self._launch()
        layer = make_layer(self._busybox_tree(), self.base / "layer.tar.gz")
        pause = ImageConfig(entrypoint=["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done"])
        for reference, config in ((PAUSE, pause), (BUSYBOX, ImageConfig(cmd=["sh"]))):
            write_archive(self.base / "image.tar", reference, [layer], config)
            self._ctr("images", "import", f"{self.base}/image.tar")

    def restart(self) -> None:
        self._end()
        self._launch()

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            asyncio.run(self._remove_pods())
        self._end()
        for point in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
            path = point.split(" ")[4]
            if path.startswith(f"{self.base}/"):
                subprocess.run(["umount", "-l", path], check=False)
        shutil.rmtree(self.base, ignore_errors=True)

    async def _remove_pods(self) -> None:
        """By the runtime itself, so that their networks go too."""
        runtime = CriRuntime(self.endpoint)
        try:
            for _, sandbox in await runtime.list_sandboxes():
                await runtime.stop_sandbox(sandbox.id)
                await runtime.remove_sandbox(sandbox.id)
        finally:
            await runtime.close()

    @property
    def log(self) -> str:
        return (self.base / "log").read_text()

    def _launch(self) -> None:
        environment = {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
        with (self.base / "log").open("ab") as output:
            self._process = subprocess.Popen(["containerd", "--config", f"{self.base}/config.toml"], stdout=output, stderr=output, env=environment)
        deadline = time.monotonic() + START_TIMEOUT_S
        pause = 0.05
        while subprocess.run([*self._ctr_words(), "version"], check=False, capture_output=True).returncode != 0:
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError(f"containerd did not start:\n{self.log[-2000:]}")
            time.sleep(pause)

    def _end(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=START_TIMEOUT_S)
            self._process = None

    def _busybox_tree(self) -> Path:
        tree = self.base / "tree"
        for directory in ("bin", "tmp", "proc", "sys", "dev", "etc"):
            (tree / directory).mkdir(parents=True)
        busybox = shutil.which("busybox")
        assert busybox is not None
        shutil.copy(busybox, tree / "bin" / "busybox")
        for name in subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True).stdout.split():
            if name != "busybox":
                (tree / "bin" / name).symlink_to("/bin/busybox")
        return tree

    def _ctr_words(self) -> list[str]:
        return ["ctr", "--address", f"{self.base}/containerd.sock", "--namespace", "k8s.io"]

    def _ctr(self, *words: str) -> None:
        subprocess.run([*self._ctr_words(), *words], check=True, capture_output=True)
