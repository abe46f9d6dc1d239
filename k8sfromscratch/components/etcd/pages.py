"""What is asked over plain HTTP: /health, /livez, /readyz and /version.  The metrics are `metrics`.

    /health    is there a leader, and do reads work: "false" with 503 otherwise, and with an alarm; ?serializable=true asks this member alone
    /livez     this member answers from what it has: when it does not, starting it again may help
    /readyz    it answers as a member of a cluster with a quorum, and what it has is sound: when not, clients should go elsewhere

All as upstream's: ?exclude= leaves a check out, ?verbose says each one's outcome, and each has a path of its own (/readyz/linearizable_read).
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from urllib.parse import parse_qs, urlsplit

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from k8sfromscratch.components.etcd.member import VERSION, Member
from k8sfromscratch.process.http import Request, Response

JSON, TEXT = "application/json", "text/plain; charset=utf-8"

Answer = Callable[[int, str, bytes], None]
"""Called once: status, content type, body."""
Outcome = Callable[[str], None]
"""Called once with what is wrong; "" is all right."""

_LIVE = ("serializable_read",)
_READY = ("data_corruption", "serializable_read", "linearizable_read")


class Pages:
    def __init__(self, member: Member, registry: CollectorRegistry) -> None:
        self._member, self._registry = member, registry
        self._checks: Mapping[str, Callable[[Outcome], None]] = {
            "data_corruption": lambda told: told("alarm activated: CORRUPT" if member.alarms.corrupt else ""),
            "serializable_read": lambda told: told(""),  # what is applied is in memory: a member that gets here can read it
            "linearizable_read": lambda told: member.linearizable(lambda error: told(str(error) if error is not None else "")),
        }

    def get(self, target: str, answer: Answer) -> None:
        """`target` is a request's, with its query."""
        parts = urlsplit(target)
        query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        excluded = {name for values in parse_qs(parts.query).get("exclude", []) for name in values.split(",")}
        match parts.path.rstrip("/").split("/")[1:]:
            case ["health"]:
                self._health(query.get("serializable") == "true", excluded, answer)
            case ["livez", *rest] if len(rest) <= 1 and set(rest) <= set(_LIVE):
                self._each("livez", tuple(rest) or _LIVE, excluded, "verbose" in query, answer)
            case ["readyz", *rest] if len(rest) <= 1 and set(rest) <= set(_READY):
                self._each("readyz", tuple(rest) or _READY, excluded, "verbose" in query, answer)
            case ["version"]:
                answer(200, JSON, json.dumps({"etcdserver": VERSION, "etcdcluster": VERSION.rsplit(".", 1)[0] + ".0"}).encode())
            case ["metrics"]:
                answer(200, CONTENT_TYPE_LATEST, generate_latest(self._registry))
            case _:
                answer(404, TEXT, b"404 page not found\n")

    def peers_get(self, target: str, answer: Answer) -> None:
        """On the peer port only the version is told."""
        if urlsplit(target).path == "/version":
            self.get(target, answer)
        else:
            answer(404, TEXT, b"404 page not found\n")

    def _health(self, serializable: bool, excluded: set[str], answer: Answer) -> None:
        def told(reason: str) -> None:
            body = {"health": "false" if reason else "true", "reason": reason}
            answer(503 if reason else 200, JSON, json.dumps(body).encode())

        alarms = self._member.alarms
        raised = [name for name, there in (("NOSPACE", alarms.no_space or self._member.engine.over_quota), ("CORRUPT", alarms.corrupt)) if there]
        if raised and raised[0] not in excluded:
            told(f"ALARM {raised[0]}")
        elif serializable:
            told("")
        elif not self._member.engine.leader:
            told("RAFT NO LEADER")
        else:
            self._member.linearizable(lambda error: told(f"RANGE ERROR:{error}" if error is not None else ""))

    def _each(self, name: str, checks: tuple[str, ...], excluded: set[str], verbose: bool, answer: Answer) -> None:
        wanted = [check for check in checks if check not in excluded]
        outcomes: dict[str, str] = {}

        def done(check: str, wrong: str) -> None:
            outcomes[check] = wrong
            if len(outcomes) == len(wanted):
                conclude()

        def conclude() -> None:
            bad = any(outcomes.values())
            lines = [f"[-]{check} failed: {outcomes[check]}" if outcomes[check] else f"[+]{check} ok" for check in wanted]
            text = "\n".join([*lines, f"{name} check failed"]) if bad else "\n".join([*(lines if verbose else []), "ok"])
            answer(503 if bad else 200, TEXT, text.encode() + b"\n")

        if not wanted:
            conclude()
        for check in wanted:
            self._checks[check](lambda wrong, check=check: done(check, wrong))  # type: ignore[misc]

    async def handle(self, request: Request) -> Response:
        """The same behind an HTTP server of their own."""
        answered: asyncio.Future[tuple[int, str, bytes]] = asyncio.get_running_loop().create_future()
        self.get(request.raw_path or request.path, lambda *found: None if answered.done() else answered.set_result(found))
        status, content_type, body = await answered
        return Response(status, body, content_type)
