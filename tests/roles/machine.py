"""A machine of plain values that roles are run against: facts are read from it, and the commands that operations yield change it.

It knows just enough of a machine for that: files with their content's hash, mode and owner, systemd units, users, images.  A command it
does not know is an error, so a role cannot do something here unseen.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

from pyinfra.api.command import FileUploadCommand
from pyinfra.context import ctx_host, ctx_inventory, ctx_state

from roles.addons import Unapplied
from roles.etcd import Begun
from roles.lib.commands import Steps
from roles.lib.facts import Answers, ContainerdImages, Files, FileState, MissingModules, MissingPackages, MissingUsers, Texts, Units, UnitState
from roles.lib.services import inputs_of

SYSTEMD = "/etc/systemd/system/"


@dataclass
class FakeUnit:
    enabled: bool = False
    inputs: str = ""
    """Of the running process; "" if it does not run."""
    starts: int = 0


@dataclass
class Machine:
    name: str
    address: str
    groups: list[str]
    data: dict[str, Any]
    contents: dict[str, bytes] = field(default_factory=dict)
    modes: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    packages: set[str] = field(default_factory=set)
    users: set[str] = field(default_factory=set)
    sysctls: dict[str, str] = field(default_factory=dict)
    units: dict[str, FakeUnit] = field(default_factory=dict)
    loaded: dict[str, str] = field(default_factory=dict)
    """systemd's view of unit files, as of the last daemon-reload."""
    images: dict[str, str] = field(default_factory=dict)
    healthy: bool = True
    applied: bool = False
    begun: list[str] = field(default_factory=list)
    """The members that its etcd began with."""
    ran: list[str] = field(default_factory=list)

    def get_fact(self, fact: type, **arguments: Any) -> Any:
        return self._FACTS[fact](self, **arguments)

    def _files(self, paths: list[str]) -> dict[str, FileState]:
        found = {}
        for path in paths:
            if path in self.contents:
                mode, owner, group = self.modes.get(path, ("644", "root", "root"))
                found[path] = FileState(hashlib.sha256(self.contents[path]).hexdigest(), mode, owner, group)
        return found

    def _texts(self, paths: list[str]) -> dict[str, str]:
        known = {"/proc/sys/" + key.replace(".", "/"): value for key, value in self.sysctls.items()}
        known |= {path: content.decode().splitlines()[0] for path, content in self.contents.items() if path in paths}
        return {path: known[path] for path in paths if path in known}

    def _units(self, units: list[str]) -> dict[str, UnitState]:
        states = {}
        for name in units:
            unit = self.units.get(name, FakeUnit())
            on_disk = self.contents.get(SYSTEMD + name, b"").decode()
            states[name] = UnitState(unit.inputs != "", unit.enabled, self.loaded.get(name, "") != on_disk, unit.inputs)
        return states

    _FACTS: Any = field(
        default_factory=lambda: {
            Files: Machine._files,
            Texts: Machine._texts,
            Units: Machine._units,
            MissingPackages: lambda self, packages: [each for each in packages if each not in self.packages],
            MissingUsers: lambda self, users: [each for each in users if each not in self.users],
            MissingModules: lambda self, modules: [],
            ContainerdImages: lambda self: self.images,
            Answers: lambda self, check: self.healthy,
            Begun: lambda self: self.begun,
            Unapplied: lambda self, manifests: [] if self.applied else list(manifests),
        }
    )

    def execute(self, command: Any) -> None:
        if isinstance(command, FileUploadCommand):
            with open(command.src, "rb") as file:
                self.contents[command.dest] = file.read()
            self.ran.append(f"upload {command.dest}")
            return
        if isinstance(command, Steps):
            for file in command.files:
                self.contents[file.path] = file.content.encode()
                self.modes[file.path] = (file.mode, file.owner, file.group)
                self.ran.append(f"write {file.path}")
            for step in command.commands:
                self._run(step)
        else:
            self._run(str(command))

    def _run(self, text: str) -> None:
        self.ran.append(text)
        for pattern, effect in _COMMANDS:
            match = re.fullmatch(pattern, text, re.DOTALL)
            if match:
                effect(self, *match.groups())
                return
        raise AssertionError(f"a command that the fake machine does not know: {text}")

    def _daemon_reload(self) -> None:
        self.loaded = {path.removeprefix(SYSTEMD): content.decode() for path, content in self.contents.items() if path.startswith(SYSTEMD)}

    def _enable(self, names: str) -> None:
        for name in names.split():
            self.units.setdefault(name, FakeUnit()).enabled = True

    def _restart(self, names: str) -> None:
        for name in names.split():
            unit = self.units.setdefault(name, FakeUnit())
            unit.inputs = inputs_of(self.loaded[name])
            unit.starts += 1

    def _import(self, archive: str) -> None:
        del self.contents[archive]
        reference, digest = self.data["archives"][archive.rpartition("/")[2]]
        self.images[reference] = digest

    def _stamp(self, removed: str, value: str, path: str) -> None:
        self.contents[path] = f"{value}\n".encode()

    def _write_stamp(self, value: str, path: str) -> None:
        self.contents[path] = f"{value}\n".encode()

    def _apply(self, _manifests: str) -> None:
        self.applied = True

    def _sysctl(self, key: str, value: str) -> None:
        self.sysctls[key] = value


def _nothing(_machine: Machine, *_groups: str) -> None:
    """For commands whose effect no fact shows."""


_COMMANDS: list[tuple[str, Callable[..., None]]] = [
    (r"systemctl daemon-reload", Machine._daemon_reload),
    (r"systemctl --quiet --no-reload enable (.+)", Machine._enable),
    (r"systemctl restart (.+)", Machine._restart),
    (r"sysctl --quiet --write (\S+)=(\S+)", Machine._sysctl),
    (r"systemd-sysusers", lambda self: self.users.update(("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"))),
    (r"apt-get -qq update", _nothing),
    (r"DEBIAN_FRONTEND=noninteractive apt-get .* -y (.+)", lambda self, names: self.packages.update(names.split())),
    (r"ctr --namespace k8s.io images import --no-unpack (\S+) && rm \S+", Machine._import),
    (r"rm (?:-rf )?(.+) && echo (\S+) > (\S+)", Machine._stamp),
    (r"rm -rf \S+ && /usr/bin/python3[.]\d+ -m venv .+", _nothing),
    (r"rm -rf \S+/k8sfromscratch \S+/k8sfromscratch-\*", _nothing),
    (r"tar -xzf (\S+) -C \S+ && rm \S+", lambda self, archive: self.contents.pop(archive)),
    (r"/opt/k8sfromscratch/bin/python -m compileall .+", _nothing),
    (r"echo (\S+) > (\S+)", Machine._write_stamp),
    (r"/opt/k8sfromscratch/bin/python /usr/local/lib/k8sfromscratch/apply.py (.+)", Machine._apply),
    (r"\S+/python \S+/probe.py --within=.+", lambda self: setattr(self, "healthy", True)),
]


def run_role(module: ModuleType, role: Callable[..., Any], machine: Machine, others: list[Machine] | None = None, **arguments: Any) -> list[str]:
    """Runs a role's deploy function against the machine; the commands that it carried out.  Operations run at once, in order, as pyinfra's do."""
    # An inventory's order is the same wherever a role runs.
    everyone = sorted([machine, *(others or [])], key=lambda each: each.name)
    before = len(machine.ran)
    replaced = {name: value for name, value in vars(module).items() if hasattr(value, "_inner") and hasattr(value, "__wrapped__")}
    host = SimpleNamespace(
        name=machine.name,
        groups=machine.groups,
        get_fact=machine.get_fact,
        data=SimpleNamespace(**machine.data, node_name=machine.name, node_address=machine.address),
    )
    hosts = [
        SimpleNamespace(data=SimpleNamespace(node_name=each.name, node_address=each.address), groups=each.groups, get_fact=each.get_fact) for each in everyone
    ]

    class Inventory(list):  # type: ignore[type-arg]
        def get_group(self, name: str) -> list[Any]:
            return [each for each in hosts if name in each.groups]

    def executed(operation: Any) -> Callable[..., None]:
        def run(*args: Any, name: str = "", **kwargs: Any) -> None:
            for command in operation._inner(*args, **kwargs):
                machine.execute(command)

        return run

    try:
        for name, operation in replaced.items():
            setattr(module, name, executed(operation))
        reached = SimpleNamespace(activated_hosts=hosts, is_host_in_limit=hosts.__contains__)
        with ctx_host.use(host), ctx_inventory.use(Inventory(hosts)), ctx_state.use(reached):  # type: ignore[arg-type]
            role._inner(**arguments)  # type: ignore[attr-defined]
    finally:
        for name, operation in replaced.items():
            setattr(module, name, operation)
    return machine.ran[before:]
