"""What the node, its pods and containers use: /stats/summary for autoscalers, /metrics/resource for metrics-server.

Containers' numbers come from the runtime, the node's from /proc.  Rates (nano cores) need two looks: the one before is remembered.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from k8sfromscratch.process.clock import Env, rfc3339
from k8sfromscratch.runtime.interface import ContainerUsage, Runtime

from . import machine

Object = dict[str, Any]

NODE = "node"
"""The key of the node's own counter beside those of containers, whose ids are hexadecimal."""


@dataclass(frozen=True, slots=True)
class _Look:
    moment: datetime
    cpu_total_ns: int


class Stats:
    def __init__(self, runtime: Runtime, env: Env, node_name: str, root: Path) -> None:
        self._runtime = runtime
        self._env = env
        self._node_name = node_name
        self._root = root
        self._started = env.clock.now()
        self._looks: dict[str, _Look] = {}

    async def summary(self) -> Object:
        """Raises RuntimeFailure."""
        usages = await self._runtime.usage()
        now = self._env.clock.now()
        node = self._node(now)
        by_pod: dict[str, list[ContainerUsage]] = {}
        for usage in usages:
            by_pod.setdefault(usage.pod.uid, []).append(usage)
        pods = [self._pod(found) for found in by_pod.values()]
        self._looks = {NODE: self._looks[NODE]} | {u.container_id: _Look(u.moment, u.cpu_total_ns) for u in usages}
        return {"node": node, "pods": pods}

    def _node(self, now: datetime) -> Object:
        capacity = machine.capacity(self._root)
        total_ns = machine.cpu_total_ns()
        cpu = self._cpu(NODE, now, total_ns)
        self._looks[NODE] = _Look(now, total_ns)
        used = capacity.memory_bytes - capacity.memory_available_bytes
        return {
            "nodeName": self._node_name,
            "startTime": rfc3339(self._started),
            "cpu": cpu,
            "memory": {"time": rfc3339(now), "availableBytes": capacity.memory_available_bytes, "usageBytes": used, "workingSetBytes": used},
            "fs": {
                "time": rfc3339(now),
                "availableBytes": capacity.filesystem_available_bytes,
                "capacityBytes": capacity.filesystem_bytes,
                "usedBytes": capacity.filesystem_bytes - capacity.filesystem_available_bytes,
                "inodesFree": capacity.filesystem_inodes_free,
                "inodes": capacity.filesystem_inodes,
            },
            "rlimit": {"time": rfc3339(now), "maxpid": capacity.pids_max, "curproc": capacity.pids},
        }

    def _pod(self, usages: list[ContainerUsage]) -> Object:
        pod = usages[0].pod
        containers = [self._container(usage) for usage in usages]
        moment = rfc3339(max(usage.moment for usage in usages))
        cpu: Object = {"time": moment, "usageCoreNanoSeconds": sum(u.cpu_total_ns for u in usages)}
        if all("usageNanoCores" in c["cpu"] for c in containers):
            cpu["usageNanoCores"] = sum(c["cpu"]["usageNanoCores"] for c in containers)
        memory = {
            "time": moment,
            "usageBytes": sum(u.memory_usage_bytes for u in usages),
            "workingSetBytes": sum(u.memory_working_set_bytes for u in usages),
            "rssBytes": sum(u.memory_rss_bytes for u in usages),
        }
        return {
            "podRef": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
            "startTime": moment,
            "containers": containers,
            "cpu": cpu,
            "memory": memory,
        }

    def _container(self, usage: ContainerUsage) -> Object:
        moment = rfc3339(usage.moment)
        return {
            "name": usage.name,
            "startTime": moment,
            "cpu": self._cpu(usage.container_id, usage.moment, usage.cpu_total_ns),
            "memory": {
                "time": moment,
                "usageBytes": usage.memory_usage_bytes,
                "workingSetBytes": usage.memory_working_set_bytes,
                "rssBytes": usage.memory_rss_bytes,
            },
            "rootfs": {"time": moment, "usedBytes": usage.filesystem_used_bytes, "inodesUsed": usage.filesystem_inodes_used},
        }

    def _cpu(self, key: str, moment: datetime, total_ns: int) -> Object:
        cpu: Object = {"time": rfc3339(moment), "usageCoreNanoSeconds": total_ns}
        before = self._looks.get(key)
        if before is not None and moment > before.moment:
            cpu["usageNanoCores"] = max(int((total_ns - before.cpu_total_ns) / (moment - before.moment).total_seconds()), 0)
        return cpu

    async def resource_metrics(self) -> str:
        """Prometheus text, with upstream's names.  Raises RuntimeFailure."""
        usages = await self._runtime.usage()
        capacity = machine.capacity(self._root)
        lines = [
            "# TYPE node_cpu_usage_seconds_total counter",
            f"node_cpu_usage_seconds_total {machine.cpu_total_ns() / 1e9}",
            "# TYPE node_memory_working_set_bytes gauge",
            f"node_memory_working_set_bytes {capacity.memory_bytes - capacity.memory_available_bytes}",
            "# TYPE container_cpu_usage_seconds_total counter",
            *(f"container_cpu_usage_seconds_total{_labels(u)} {u.cpu_total_ns / 1e9}" for u in usages),
            "# TYPE container_memory_working_set_bytes gauge",
            *(f"container_memory_working_set_bytes{_labels(u)} {u.memory_working_set_bytes}" for u in usages),
        ]
        pods: dict[tuple[str, str], list[ContainerUsage]] = {}
        for usage in usages:
            pods.setdefault((usage.pod.namespace, usage.pod.name), []).append(usage)
        lines.append("# TYPE pod_cpu_usage_seconds_total counter")
        lines += [
            f'pod_cpu_usage_seconds_total{{namespace="{ns}",pod="{name}"}} {sum(u.cpu_total_ns for u in found) / 1e9}' for (ns, name), found in pods.items()
        ]
        lines.append("# TYPE pod_memory_working_set_bytes gauge")
        lines += [
            f'pod_memory_working_set_bytes{{namespace="{ns}",pod="{name}"}} {sum(u.memory_working_set_bytes for u in found)}'
            for (ns, name), found in pods.items()
        ]
        return "\n".join([*lines, "# TYPE scrape_error gauge", "scrape_error 0", ""])


def _labels(usage: ContainerUsage) -> str:
    return f'{{container="{usage.name}",namespace="{usage.pod.namespace}",pod="{usage.pod.name}"}}'
