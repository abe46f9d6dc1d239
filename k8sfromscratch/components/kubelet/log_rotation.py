"""Keeps containers' logs from filling the disk: one that is too large is renamed, and the runtime opens a new one."""

import asyncio
import logging
from pathlib import Path

from k8sfromscratch.process.clock import Env
from k8sfromscratch.runtime.interface import Runtime, RuntimeFailure

from .log_files import rotate
from .pods import Pods

log = logging.getLogger(__name__)

CHECK_S = 10.0


async def rotate_logs(pods: Pods, runtime: Runtime, env: Env, *, size_max_bytes: int, files_max: int) -> None:
    """Looks at the logs of running containers until cancelled."""
    while True:
        await asyncio.sleep(CHECK_S)
        for container in pods.running_containers():
            path = Path(container.log_path)
            try:
                if container.log_path and path.stat().st_size > size_max_bytes:
                    rotate(path, keep_files=files_max, stamp=env.clock.now().strftime("%Y%m%d-%H%M%S"))
                    await runtime.reopen_log(container.id)
            except (OSError, RuntimeFailure) as error:
                log.warning("log %s was not rotated: %s", path, error)
