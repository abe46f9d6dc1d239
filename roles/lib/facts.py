"""Facts: what a machine looks like now.  Each is one command on the machine, however many things it asks about."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from pyinfra.api.facts import FactBase


@dataclass(frozen=True)
class FileState:
    """`mode` is octal text as `stat` prints it ("644")."""

    sha256: str
    mode: str
    owner: str
    group: str


class Files(FactBase[dict[str, FileState]]):
    """path → state, of those paths that exist as plain files."""

    default = dict

    def command(self, paths: Sequence[str]) -> str:
        """To start programs for each file would take longer than what they do: each is started once, for those files that are there."""
        there = f'set --; for f in {" ".join(map(shlex.quote, paths))}; do if [ -f "$f" ]; then set -- "$@" "$f"; fi; done'
        return f'{there}; if [ $# != 0 ]; then sha256sum -- "$@" && stat -c \'%a %U %G %n\' -- "$@"; fi'

    def process(self, output: list[str]) -> dict[str, FileState]:
        """As many lines of sums as of states, in the same order."""
        sums, states = output[: len(output) // 2], output[len(output) // 2 :]
        found = {}
        for line, state in zip(sums, states, strict=True):
            mode, owner, group, path = state.split(" ", 3)
            found[path] = FileState(line[:64], mode, owner, group)
        return found


class Texts(FactBase[dict[str, str]]):
    """path → first line, of those files that exist: stamps, values below /proc/sys."""

    default = dict

    def command(self, paths: Sequence[str]) -> str:
        quoted = " ".join(map(shlex.quote, paths))
        return f'for f in {quoted}; do [ -f "$f" ] && echo "$f $(head -n 1 "$f" | tr "\\t" " ")"; done; true'

    def process(self, output: list[str]) -> dict[str, str]:
        return {path: text for path, _, text in (line.partition(" ") for line in output)}


class MissingPackages(FactBase[list[str]]):
    """Those of the Debian packages that are not installed."""

    default = list

    def requires_command(self, packages: Sequence[str]) -> str:
        return "dpkg-query"

    def command(self, packages: Sequence[str]) -> str:
        quoted = " ".join(map(shlex.quote, packages))
        return f'for p in {quoted}; do dpkg-query -W -f \'${{db:Status-Status}}\' "$p" 2>/dev/null | grep -qx installed || echo "$p"; done; true'

    def process(self, output: list[str]) -> list[str]:
        return output


class MissingUsers(FactBase[list[str]]):
    default = list

    def command(self, users: Sequence[str]) -> str:
        return f"for u in {' '.join(users)}; do getent passwd $u >/dev/null || echo $u; done; true"

    def process(self, output: list[str]) -> list[str]:
        return output


class MissingModules(FactBase[list[str]]):
    """Kernel modules that are neither loaded nor built in.  None where the kernel loads no modules, or in a container, which cannot."""

    default = list

    def command(self, modules: Sequence[str]) -> str:
        loop = f"for m in {' '.join(modules)}; do [ -d /sys/module/$m ] || echo $m; done"
        return f"if [ -e /proc/modules ] && ! systemd-detect-virt --quiet --container; then {loop}; fi; true"

    def process(self, output: list[str]) -> list[str]:
        return output


@dataclass(frozen=True)
class UnitState:
    """`inputs` is what the running process was started from (see `roles.lib.services`); "" if it does not run or says nothing."""

    active: bool
    enabled: bool
    needs_reload: bool
    inputs: str


class Units(FactBase[dict[str, UnitState]]):
    """unit → state.  Unknown units come as inactive and disabled."""

    default = dict

    def requires_command(self, units: Sequence[str]) -> str:
        return "systemctl"

    def command(self, units: Sequence[str]) -> str:
        """systemctl ends what it says of a unit with an empty line; what the unit's process was started from comes in between."""
        inputs = "(MainPID=0) ;; (MainPID=*) grep -z ^KFS_INPUTS= /proc/${line#*=}/environ | tr '\\0' '\\n' ;;"
        shown = f"systemctl show --property=Id,ActiveState,UnitFileState,NeedDaemonReload,MainPID {' '.join(units)}"
        return f'{shown} | while IFS= read -r line; do echo "$line"; case $line in {inputs} esac; done; true'

    def process(self, output: list[str]) -> dict[str, UnitState]:
        shown: dict[str, dict[str, str]] = {}
        values: dict[str, str] = {}
        for line in output:
            if not line:
                values = {}
                continue
            name, _, value = line.partition("=")
            values[name] = value
            if name == "Id":
                shown[value] = values
        return {
            unit: UnitState(
                active=values.get("ActiveState") == "active",
                enabled=values.get("UnitFileState") == "enabled",
                needs_reload=values.get("NeedDaemonReload") == "yes",
                inputs=values.get("KFS_INPUTS", ""),
            )
            for unit, values in shown.items()
        }


class Answers(FactBase[bool]):
    """Whether a shell command succeeds: a health check, a lookup."""

    default = bool

    def command(self, check: str) -> str:
        return f"if ( {check} ) >/dev/null 2>&1; then echo yes; else echo no; fi"

    def process(self, output: list[str]) -> bool:
        return output == ["yes"]


class ContainerdImages(FactBase[dict[str, str]]):
    """reference → digest, of the images that containerd has for Kubernetes."""

    default = dict

    def requires_command(self) -> str:
        return "ctr"

    def command(self) -> str:
        return "ctr --namespace k8s.io images list 2>/dev/null || true"

    def process(self, output: list[str]) -> dict[str, str]:
        return {line.split()[0]: line.split()[2] for line in output[1:] if line.strip()}
