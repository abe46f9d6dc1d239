"""From what a client asks of a pod to the kubelet's URL for it: which container, which streams, which options, and what is wrong with them.

    GET …/pods/web/log?container=app&follow=true          ─►  /containerLogs/NAMESPACE/web/app?follow=true
    POST …/pods/web/exec?command=ls&stdout=true           ─►  /exec/NAMESPACE/web/app?command=ls&output=1
    POST …/pods/web/portforward                           ─►  /portForward/NAMESPACE/web

Errors are worded as upstream's (pkg/registry/core/pod/strategy.go), since people look for them.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from k8sfromscratch.api.errors import BadRequest, Cause, invalid
from k8sfromscratch.core.streams.remotecommand import Wanted
from k8sfromscratch.process.http import Request

Object = dict[str, Any]

_LOG_FLAGS = ("follow", "previous", "timestamps")
_LOG_NUMBERS: Mapping[str, int] = {"tailLines": 0, "limitBytes": 1, "sinceSeconds": 1}
"""Least allowed values."""


def host_of(pod: Object) -> str:
    """The node's name.  Raises BadRequest."""
    node = pod["spec"].get("nodeName")
    if not node:
        raise BadRequest(f"pod {pod['metadata']['name']} does not have a host assigned")
    return str(node)


def container_of(pod: Object, asked: str) -> str:
    """The container that is meant.  Raises BadRequest."""
    name, spec = pod["metadata"]["name"], pod["spec"]
    names = [container["name"] for kind in ("initContainers", "containers", "ephemeralContainers") for container in spec.get(kind) or ()]
    if asked:
        if asked not in names:
            raise BadRequest(f"container {asked} is not valid for pod {name}")
        return asked
    if len(spec.get("containers") or ()) != 1:
        raise BadRequest(f"a container name must be specified for pod {name}, choose one of: [{' '.join(names)}]")
    return str(spec["containers"][0]["name"])


def wanted_streams(request: Request) -> Wanted:
    """Raises BadRequest."""
    wanted = Wanted(*(_is_true(request, name) for name in ("stdin", "stdout", "stderr", "tty")))
    if not (wanted.stdin or wanted.stdout or wanted.stderr):
        raise BadRequest("you must specify at least 1 of stdin, stdout, stderr")
    if wanted.tty and wanted.stderr:
        # A terminal has one output; upstream drops stderr as well.
        return Wanted(wanted.stdin, wanted.stdout, False, True)
    return wanted


def command_target(subresource: str, pod: Object, container: str, wanted: Wanted, command: list[str]) -> str:
    """`subresource`: exec or attach."""
    if subresource == "exec" and not command:
        raise BadRequest("you must specify at least one command for the container")
    query = [("command", word) for word in command]
    query += [(name, "1") for name, on in (("input", wanted.stdin), ("output", wanted.stdout), ("error", wanted.stderr), ("tty", wanted.tty)) if on]
    return f"/{subresource}/{_of(pod)}/{quote(container)}?{urlencode(query)}"


def port_forward_target(pod: Object, ports: list[str]) -> str:
    """`ports` are only given by WebSocket clients of the old kind."""
    return f"/portForward/{_of(pod)}" + (f"?{urlencode([('port', port) for port in ports])}" if ports else "")


def log_target(pod: Object, container: str, request: Request) -> str:
    """Raises BadRequest, Invalid."""
    query = [(name, "true") for name in _LOG_FLAGS if _is_true(request, name)]
    causes = []
    for name, least in _LOG_NUMBERS.items():
        text = request.arg(name)
        if not text:
            continue
        if not text.lstrip("-").isdigit():
            raise BadRequest(f'{name}: "{text}" is not a number')
        if int(text) < least:
            problem = "must be greater than or equal to 0" if least == 0 else "must be greater than 0"
            causes.append(Cause("FieldValueInvalid", f"Invalid value: {text}: {problem}", name))
        query.append((name, text))
    if request.arg("sinceTime"):
        if request.arg("sinceSeconds"):
            causes.append(Cause("FieldValueForbidden", "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified", ""))
        query.append(("sinceTime", request.arg("sinceTime")))
    stream = request.arg("stream")
    if stream and stream != "All":
        if stream not in ("Stdout", "Stderr"):
            message = f'Unsupported value: "{stream}": supported values: "All", "Stderr", "Stdout"'
            causes.append(Cause("FieldValueNotSupported", message, "stream"))
        query.append(("stream", stream))
    if causes:
        raise invalid("PodLogOptions", pod["metadata"]["name"], "", causes)
    return f"/containerLogs/{_of(pod)}/{quote(container)}" + (f"?{urlencode(query)}" if query else "")


def _of(pod: Object) -> str:
    return f"{quote(pod['metadata']['namespace'])}/{quote(pod['metadata']['name'])}"


def _is_true(request: Request, name: str) -> bool:
    return request.arg(name) in ("true", "1", "True")
