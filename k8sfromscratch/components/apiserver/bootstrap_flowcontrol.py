"""Makes the flow schemas and priority levels of `policy_flowcontrol` at each start, and respects what users made of them.

    mandatory    kept as they are meant to be; of the level `exempt` its shares are the user's
    suggested    kept while the annotation apf.kubernetes.io/autoupdate-spec says "true", or says nothing and nobody has changed the spec;
                 "false" leaves them to the user for good

As upstream's post-start hook priority-and-fairness-config-producer (apiserver/pkg/util/flowcontrol/.../ensurer).
"""

import asyncio
from typing import TYPE_CHECKING, Any

from k8sfromscratch.api.errors import AlreadyExists, Conflict, NotFound
from k8sfromscratch.api.registry import FLOW_SCHEMAS, PRIORITY_LEVEL_CONFIGURATIONS
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.components.apiserver.policy_flowcontrol import MANDATORY_LEVELS, MANDATORY_SCHEMAS, SUGGESTED_LEVELS, SUGGESTED_SCHEMAS
from k8sfromscratch.core.patch.values import copied_object

if TYPE_CHECKING:
    from k8sfromscratch.components.apiserver.server import ApiServer

Object = dict[str, Any]

AUTOUPDATE = "apf.kubernetes.io/autoupdate-spec"

_WANTED = (
    (PRIORITY_LEVEL_CONFIGURATIONS, MANDATORY_LEVELS, True),
    (PRIORITY_LEVEL_CONFIGURATIONS, SUGGESTED_LEVELS, False),
    (FLOW_SCHEMAS, MANDATORY_SCHEMAS, True),
    (FLOW_SCHEMAS, SUGGESTED_SCHEMAS, False),
)


async def flow_control(server: "ApiServer") -> None:
    """The post-start hook."""
    async with asyncio.TaskGroup() as group:
        for resource, specs, mandatory in _WANTED:
            for name, spec in specs.items():
                group.create_task(_ensure(server, resource, name, spec, mandatory))


async def _ensure(server: "ApiServer", resource: Resource, name: str, spec: Object, mandatory: bool) -> None:
    present = server.view.get(resource, name)
    wanted = reconcile(present, name, copied_object(spec), mandatory=mandatory)
    if wanted is None:
        return
    try:
        if present is None:
            await server.loopback.create(resource, {"apiVersion": resource.api_version, "kind": resource.kind, **wanted})
        else:
            await server.loopback.update(resource, wanted)
    except (AlreadyExists, Conflict, NotFound):
        return  # another apiserver that starts now, or a user: the next start makes good what is still wrong


def reconcile(present: Object | None, name: str, spec: Object, *, mandatory: bool) -> Object | None:
    """The object to be written; None where nothing is to be done."""
    if present is None:
        return {"metadata": {"name": name, "annotations": {AUTOUPDATE: "true"}}, "spec": spec}
    metadata = present["metadata"]
    notes = metadata.get("annotations") or {}
    if mandatory:
        ours = True
        if "exempt" in spec:
            spec["exempt"] = {**spec["exempt"], **((present.get("spec") or {}).get("exempt") or {})}
    else:
        ours = {"true": True, "false": False}.get(notes.get(AUTOUPDATE, ""), metadata.get("generation", 1) == 1)
    annotations = {**notes, AUTOUPDATE: "true" if ours else "false"}
    wanted = {**present, "metadata": {**metadata, "annotations": annotations}, "spec": spec if ours else present.get("spec")}
    return None if wanted == present else wanted
