"""What every pod's worker shares: the API, the runtime, the node's facts and the managers of what pods need."""

from dataclasses import dataclass
from typing import Any

from k8sfromscratch.client import Client, EventRecorder, Informer
from k8sfromscratch.core.pods.container_config import NodeFacts
from k8sfromscratch.process.clock import Env
from k8sfromscratch.runtime.interface import Runtime

from .handlers import Handlers
from .images import Images
from .node import NodeReporter
from .sources import Sources
from .volumes import Volumes

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Context:
    client: Client
    env: Env
    runtime: Runtime
    runtime_name: str
    events: EventRecorder
    facts: NodeFacts
    host_ips: tuple[str, ...]
    reporter: NodeReporter
    services: Informer
    sources: Sources
    volumes: Volumes
    images: Images
    handlers: Handlers
