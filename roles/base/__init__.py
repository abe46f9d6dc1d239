"""What every machine of the cluster has: kernel settings, users for the components, and our Python environment.

The environment is /opt/k8sfromscratch, a venv filled offline with what the control host has installed for it (`lab.environment`).  Two stamps
in it say what is there: the dependencies (uploaded when pyproject's lists change) and our own package (uploaded when the source does).
"""

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from pyinfra.api.command import FileUploadCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.operation import operation
from pyinfra.context import host

from k8sfromscratch.lab.environment import VENV, Environment
from roles.lib.commands import File, Steps
from roles.lib.facts import MissingModules, MissingPackages, MissingUsers, Texts
from roles.lib.files import files
from roles.lib.services import PROBE

PYTHON = f"{VENV}/bin/python"

PACKAGES = ("libstdc++6", "ca-certificates", "iproute2", "nftables", "iptables", "conntrack", "procps")
USERS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
APT_LOCK_S = 120
MODULES = ("overlay", "br_netfilter", "vxlan", "nf_conntrack", "nf_tables")
SYSCTLS = {
    "net.ipv4.ip_forward": "1",
    # Packets between pods of one machine cross its bridge: Services must see them too.
    "net.bridge.bridge-nf-call-iptables": "1",
    "net.bridge.bridge-nf-call-ip6tables": "1",
}


@deploy("Base")
def base(wanted: Environment) -> None:
    packages(name="System packages", wanted=(f"python{wanted.python}", *PACKAGES))
    files(
        name="Kernel settings, users, the probe",
        wanted=[
            PROBE,
            File("/etc/modules-load.d/k8sfromscratch.conf", "".join(f"{module}\n" for module in MODULES)),
            File("/etc/sysctl.d/90-k8sfromscratch.conf", "".join(f"{key} = {value}\n" for key, value in SYSCTLS.items())),
            File("/etc/sysusers.d/k8sfromscratch.conf", "".join(f'u {user} - "Kubernetes component"\n' for user in USERS)),
        ],
    )
    kernel(name="Load modules, apply settings")
    users(name="Users of the components", wanted=USERS)
    environment(name="Python environment", wanted=wanted)


@operation()
def packages(wanted: Sequence[str]) -> Generator[Steps, None, None]:
    missing = host.get_fact(MissingPackages, packages=list(wanted))
    if missing:
        # Another program may be at it, or what an interrupted deploy began.
        install = f"DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout={APT_LOCK_S} install --no-install-recommends -y {' '.join(missing)}"
        yield Steps("apt-get -qq update", install)


@operation()
def kernel() -> Generator[Steps, None, None]:
    commands = []
    missing = host.get_fact(MissingModules, modules=list(MODULES))
    if missing:
        commands.append(f"modprobe --all {' '.join(missing)}")
    paths = {key: "/proc/sys/" + key.replace(".", "/") for key in SYSCTLS}
    present = host.get_fact(Texts, paths=list(paths.values()))
    commands += [f"sysctl --quiet --write {key}={value}" for key, value in SYSCTLS.items() if present.get(paths[key]) != value]
    if commands:
        yield Steps(*commands)


@operation()
def users(wanted: Sequence[str]) -> Generator[str, None, None]:
    if host.get_fact(MissingUsers, users=list(wanted)):
        yield "systemd-sysusers"


@operation()
def environment(wanted: Environment) -> Generator[Any, None, None]:
    """Stamps are written last, so an interrupted installation is done again."""
    stamps = {"dependencies": f"{VENV}/dependencies.stamp", "project": f"{VENV}/project.stamp"}
    present = host.get_fact(Texts, paths=list(stamps.values()))
    new_dependencies = present.get(stamps["dependencies"]) != wanted.dependencies_hash
    if new_dependencies:
        fresh = f"rm -rf {VENV} && {wanted.interpreter} -m venv --without-pip {VENV}"
        stamp = f"echo {wanted.dependencies_hash} > {stamps['dependencies']}"
        yield from _unpacked(wanted.dependencies, wanted, wanted.site, before=fresh, after=stamp)
    if new_dependencies or present.get(stamps["project"]) != wanted.project_hash:
        gone = f"rm -rf {wanted.site}/k8sfromscratch {wanted.site}/k8sfromscratch-*"
        stamp = f"echo {wanted.project_hash} > {stamps['project']}"
        yield from _unpacked(wanted.project, wanted, f"{wanted.site}/k8sfromscratch", before=gone, after=stamp)


def _unpacked(archive: Path, wanted: Environment, what: str, *, before: str, after: str) -> Generator[Any, None, None]:
    there = f"/var/tmp/{archive.name}"
    yield FileUploadCommand(str(archive), there)
    compiling = [] if wanted.compiled else [f"{PYTHON} -m compileall -q -j 0 {what}"]
    yield Steps(before, f"tar -xzf {there} -C {wanted.site} && rm {there}", *compiling, after)
