"""Draws a ClusterStatus for a terminal, with rich: green is well, yellow is to be looked at, red is broken."""

from collections.abc import Mapping, Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from k8sfromscratch.status.gather import ClusterStatus, Component, Leader, Node
from k8sfromscratch.status.store import Certificate, Member

DAYS_SOON = 30
"""A certificate with fewer days left is to be looked at."""


def draw(status: ClusterStatus, console: Console) -> None:
    console.print(_whole(status))


def _whole(status: ClusterStatus) -> Group:
    parts: list[RenderableType] = [_headline(status)]
    parts += [Text(f"  {problem}", style="red") for problem in status.problems]
    failed = [name for name, well in status.checks.items() if not well]
    if failed:
        parts.append(Text(f"  not ready: {', '.join(failed)}", style="red"))
    tables = (
        _nodes(status.nodes),
        _components(status.components),
        _members(status.members),
        _leaders(status.leaders),
        _certificates(status.certificates),
        _pods(status.pods),
    )
    for table in tables:
        if table.row_count:
            parts += [Text(), table]
    return Group(*parts)


def _headline(status: ClusterStatus) -> Text:
    word, style = ("healthy", "green") if status.healthy else ("needs a look", "yellow")
    return Text.assemble((status.server, "bold"), f"  {status.version or 'does not answer'}  ", (word, style))


def _table(title: str, *columns: str) -> Table:
    made = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def _nodes(nodes: Sequence[Node]) -> Table:
    made = _table("Machines", "NODE", "READY", "ROLES", "ADDRESS", "KUBELET", "RUNTIME", "PODS", "WHY")
    for node in nodes:
        style = {"True": "green", "False": "red"}.get(node.ready, "yellow")
        ready = Text(node.ready if node.schedulable else f"{node.ready}, cordoned", style=style)
        made.add_row(node.name, ready, ",".join(node.roles) or "-", node.address, node.version, node.runtime, str(node.pods), node.why)
    return made


def _components(components: Sequence[Component]) -> Table:
    made = _table("Components", "COMPONENT", "VERSION", "WELL")
    for each in components:
        style = "green" if each.well >= each.wanted else "yellow" if each.well else "red"
        made.add_row(each.name, each.version or "-", Text(f"{each.well}/{each.wanted}", style=style))
    return made


def _members(members: Sequence[Member]) -> Table:
    made = _table("etcd", "MEMBER", "ROLE", "ADDRESS", "VERSION", "SIZE", "WHY")
    for each in members:
        role = Text("leader", style="green") if each.leader else Text("learner" if each.learner else "follower" if not each.why else "-")
        made.add_row(each.name, role, each.url, each.version or "-", f"{each.size_bytes / 1e6:.1f} MB", Text(each.why, style="red"))
    return made


def _leaders(leaders: Sequence[Leader]) -> Table:
    made = _table("Leaders", "COMPONENT", "HOLDER", "RENEWED")
    for leader in leaders:
        renewed = Text(f"{leader.renewed_s:.0f} s ago", style="green" if leader.alive else "red")
        made.add_row(leader.component, leader.holder or Text("nobody", style="red"), renewed)
    return made


def _certificates(certificates: Sequence[Certificate]) -> Table:
    made = _table("Certificates", "OF", "DAYS LEFT")
    for certificate in certificates:
        days = certificate.days_left
        made.add_row(certificate.of, Text(f"{days:.0f}" if days > 0 else "expired", style="green" if days > DAYS_SOON else "yellow" if days > 0 else "red"))
    return made


def _pods(pods: Mapping[str, Mapping[str, int]]) -> Table:
    made = _table("Pods", "NAMESPACE", "STATES")
    for namespace, states in pods.items():
        said = Text(", ").join(
            Text(f"{count} {state}", style="green" if state in ("Running", "Succeeded") else "yellow") for state, count in sorted(states.items())
        )
        made.add_row(namespace, said)
    return made
