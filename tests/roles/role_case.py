"""Runs a role's case: a YAML file with what the facts say and which operations must come of it.

    about: what the case shows
    groups: [masters]                         of the host; there is a master and a worker, or `cluster: {masters: 3, workers: 1}`, and in
                                              `unreachable`, `unlisted` (left out by --limit) and `refused` those of its hosts that are
    control_host: {pki/ca.crt: text}          files beside the certificates
    data: {cluster_domain: other.local}       over the cluster's usual data
    arguments: {wheel: wheel-2}               over the role's usual ones
    facts: {Files: {all: as wanted}, …}       every fact that the role asks, and no other
    operations:                               those that do something, in order, with what they do
      - kubelet, kube-proxy and flannel: [systemctl restart kubelet.service]
    refuses: a text                           instead of operations: what the role says when it ends the deploy

A fact's entry is per thing asked about (path, unit, check), `all` for those not named; a thing that is not given fails the case.  `as wanted`
is the state that the operation at hand is to bring about, so that no case holds a hash, `changed` that with another content (of a unit: a
process that was started from another), `absent` none, and `{wanted: true, mode: "644"}` as wanted but for what is named.  Commands are told
in words (`_WORDS`), a file as one line with its mode and owner where they are not the usual.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import yaml
from pyinfra.api.command import FileUploadCommand
from pyinfra.context import ctx_host, ctx_inventory, ctx_state

from roles.lib.commands import File, Steps
from roles.lib.facts import FileState, UnitState
from roles.lib.services import inputs_of

CASES = Path(__file__).with_name("cases")
KEYS = {"about", "groups", "cluster", "control_host", "data", "arguments", "facts", "operations", "refuses"}
AS_WANTED = "as wanted"


class BadCase(Exception):
    """The case itself is wrong: it says too little, or what the role does not ask."""


@dataclass(frozen=True)
class Case:
    name: str
    role: str
    groups: tuple[str, ...]
    cluster: Mapping[str, Any]
    control_host: Mapping[str, str]
    data: Mapping[str, Any]
    arguments: Mapping[str, Any]
    facts: Mapping[str, Any]
    operations: list[dict[str, list[str]]] | None
    refuses: str | None


def load(file: Path) -> Case:
    text = yaml.safe_load(file.read_text())
    if not isinstance(text, dict) or not text.get("about"):
        raise BadCase(f"{file}: what is it about?")
    if unknown := text.keys() - KEYS:
        raise BadCase(f"{file}: unknown: {', '.join(sorted(unknown))}")
    operations, refuses = text.get("operations"), text.get("refuses")
    if (operations is None) == (refuses is None):
        raise BadCase(f"{file}: it asserts nothing: `operations` (a list, empty if nothing is to be done) or `refuses`")
    if not text.get("facts") and not refuses:
        raise BadCase(f"{file}: it gives no facts")
    return Case(
        file.stem,
        file.parent.name,
        tuple(text.get("groups") or ()),
        {"masters": 1, "workers": 1, "unreachable": [], "unlisted": [], "refused": [], **(text.get("cluster") or {})},
        text.get("control_host") or {},
        text.get("data") or {},
        text.get("arguments") or {},
        text.get("facts") or {},
        operations,
        refuses,
    )


class Facts:
    """Answers what a role asks from what a case says, and remembers what was asked."""

    def __init__(self, given: Mapping[str, Any], resolve: Mapping[str, Callable[[Any], Any]]) -> None:
        self._given = given
        self._resolve = resolve
        self._asked: set[tuple[str, str]] = set()
        self.operation: Mapping[str, Any] = {}
        """Arguments of the operation that asks."""

    def get(self, fact: type, **arguments: Any) -> Any:
        name = fact.__name__
        arguments = {key: value for key, value in arguments.items() if not key.startswith("_")}
        if name not in self._given:
            raise BadCase(f"the role asks {name}({arguments}), and the case does not give it")
        self._asked.add((name, ""))
        given = self._given[name]
        if name in self._resolve:
            return self._resolve[name](given)
        if name == "Files":
            return {path: state for path in arguments["paths"] if (state := self._file(path, self._entry(name, path))) is not None}
        if name == "Texts":
            return {path: str(text) for path in arguments["paths"] if (text := self._entry(name, path)) != "absent"}
        if name == "Units":
            return {unit: self._unit(unit, self._entry(name, unit)) for unit in arguments["units"]}
        if name == "Answers":
            (entry,) = self._matching(name, arguments["check"])
            return entry
        if name.startswith("Missing"):
            (things,) = arguments.values()
            return [thing for thing in things if thing in given] if given != "all" else list(things)
        return given

    def unasked(self) -> list[str]:
        """What the case gives and the role did not ask about: a case that shows less than it seems to."""
        found = []
        for name, given in self._given.items():
            if (name, "") not in self._asked:
                found.append(name)
            elif name in ("Files", "Texts", "Units", "Answers"):
                found += [f"{name}: {key}" for key in given if (name, key) not in self._asked]
        return found

    def _entry(self, name: str, key: str) -> Any:
        given = self._given[name]
        for each in (key, "all"):
            if each in given:
                self._asked.add((name, each))
                return given[each]
        raise BadCase(f"the role asks {name} of {key}, and the case does not give it")

    def _matching(self, name: str, check: str) -> list[Any]:
        found = [key for key in self._given[name] if key in check] or [key for key in self._given[name] if key == "all"]
        if len(found) != 1:
            raise BadCase(f"the role asks whether this succeeds, and {len(found)} entries of the case are about it: {check}")
        self._asked.add((name, found[0]))
        return [self._given[name][found[0]]]

    def _file(self, path: str, entry: Any) -> FileState | None:
        if entry == "absent":
            return None
        units = self.operation.get("units")
        if units is not None:
            text = units[path.rpartition("/")[2]]
            wanted = FileState(hashlib.sha256(text.encode()).hexdigest(), "644", "root", "root")
        else:
            (file,) = [each for each in self.operation["wanted"] if each.path == path]
            wanted = FileState(file.sha256, file.mode, file.owner, file.group)
        return wanted if entry == AS_WANTED else replace(wanted, **_changes(entry, sha256="another"))

    def _unit(self, unit: str, entry: Any) -> UnitState:
        if entry == "absent":
            return UnitState(False, False, False, "")
        wanted = UnitState(True, True, False, inputs_of(self.operation["units"][unit]))
        return wanted if entry == AS_WANTED else replace(wanted, **_changes(entry, inputs="another"))


def _changes(entry: Any, **other: str) -> dict[str, Any]:
    """Of `{wanted: true, mode: "600"}`; `changed` alone is another content, or a process that was started from another."""
    if entry == "changed":
        return other
    if not isinstance(entry, dict) or entry.get("wanted") is not True:
        raise BadCase(f"not a state: {entry}")
    return {key: value for key, value in entry.items() if key != "wanted"}


_WORDS: list[tuple[str, str]] = [
    (r"DEBIAN_FRONTEND=noninteractive apt-get .* -y (.+)", r"install \1"),
    (r"rm -rf (\S+) && (\S+) -m venv .+", r"a new venv \1 of \2"),
    (r"rm -rf (\S+)/k8sfromscratch \S+/k8sfromscratch-\*", r"remove our package"),
    (r"tar -xzf \S+/([^/ ]+) -C (\S+) && rm \S+", r"unpack \1 into \2"),
    (r"\S+ -m compileall \S+ -j 0 (\S+)", r"compile \1"),
    (r"echo (\S+) > (\S+)", r"stamp \2 \1"),
    (r"ctr --namespace k8s.io images import --no-unpack \S+/([^/ ]+) && rm \S+", r"import \1"),
    (r"\S+/python \S+/apply.py (.+)", r"apply \1"),
    (r"\S+/python \S+/probe.py --within=(\d+) --every=\S+ (\S+)(?: [^,]+)?(?: , (\S+) [^,]+)?(?: , (\S+) [^,]+)?", r"wait up to \1 s for \2 \3 \4"),
    (r"echo '\w+: (.*)' >&2; exit 1", r"fail: \1"),
]
"""A command → what it does, in words.  Others are told as they are."""


def words(commands: list[Any]) -> list[str]:
    told: list[str] = []
    for command in commands:
        if isinstance(command, FileUploadCommand):
            # An archive is uploaded only to be unpacked or imported.
            assert command.dest.startswith("/var/tmp/"), "files that stay come with a command, with their rights from the start"
        elif isinstance(command, Steps):
            told += [_told(file) for file in command.files]
            told += [_in_words(each) for each in command.commands]
        else:
            told.append(_in_words(str(command)))
    return told


def _told(file: File) -> str:
    usual = (file.mode, file.owner, file.group) == ("644", "root", "root")
    return f"write {file.path}" + ("" if usual else f" {file.mode} {file.owner}:{file.group}")


def _in_words(command: str) -> str:
    text = command.replace("'\"'\"'", "’")
    for pattern, said in _WORDS:
        match = re.fullmatch(pattern, text, re.DOTALL)
        if match:
            text = match.expand(said).rstrip()
            break
    return text.replace("’", "'")


def run(
    case: Case,
    module: ModuleType,
    role: Callable[..., Any],
    data: Mapping[str, Any],
    arguments: Mapping[str, Any],
    resolve: Mapping[str, Callable[[Any], Any]],
) -> list[dict[str, list[str]]]:
    """The operations that did something, as a case lists them."""
    facts = Facts(case.facts, resolve)
    done: list[dict[str, list[str]]] = []
    members = [_member(number, group, facts) for group in ("masters", "workers") for number in range(1, case.cluster[group] + 1)]
    mine = next(each for each in members if set(each.groups) == set(case.groups))
    host = SimpleNamespace(**{**vars(mine), "data": SimpleNamespace(**{**data, **vars(mine.data), **case.data})})
    limit = [each for each in members if each.name not in case.cluster["unlisted"]]
    reached = [each for each in limit if each.name not in case.cluster["unreachable"]]
    for each in members:
        if each.name in case.cluster["unreachable"]:
            each.get_fact = _not_there

    def executed(operation: Any) -> Callable[..., None]:
        def carry_out(*words_: Any, name: str, **keywords: Any) -> None:
            facts.operation = keywords
            told = words(list(operation._inner(*words_, **keywords)))
            if told:
                done.append({name: told})

        return carry_out

    with ExitStack() as stack:
        for name, operation in vars(module).copy().items():
            if hasattr(operation, "_inner") and hasattr(operation, "__wrapped__"):
                stack.enter_context(_replaced(module, name, executed(operation)))
        stack.enter_context(ctx_host.use(host))
        stack.enter_context(ctx_inventory.use(_Inventory(members)))
        stack.enter_context(ctx_state.use(SimpleNamespace(activated_hosts=reached, is_host_in_limit=limit.__contains__)))
        role._inner(**{**arguments, **case.arguments})  # type: ignore[attr-defined]
    if unasked := facts.unasked():
        raise BadCase(f"the role never asks {', '.join(unasked)}")
    return done


class _Inventory(list):  # type: ignore[type-arg]
    def get_group(self, name: str) -> list[Any]:
        return [each for each in self if name in each.groups]


def _member(number: int, group: str, facts: Facts) -> SimpleNamespace:
    name = f"{group.removesuffix('s')}-{number}"
    address = f"192.0.2.{(10 if group == 'masters' else 100) + number}"
    return SimpleNamespace(name=name, groups=[group], data=SimpleNamespace(node_name=name, node_address=address), get_fact=facts.get)


def _not_there(fact: type, **_arguments: Any) -> Any:
    raise BadCase(f"the role asks {fact.__name__} of a machine that cannot be reached")


@contextmanager
def _replaced(module: ModuleType, name: str, value: Any) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)
