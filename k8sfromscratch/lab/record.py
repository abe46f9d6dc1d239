"""What the lab has made on this host, so that exactly that is taken away again.

Every creation is written down *before* it is done: an interrupted run leaves at most an entry for something that does not exist,
never something without an entry.  The record is one JSON file, `.lab/record.json`, replaced atomically; one process changes it at a
time (`Record.locked`, a file lock that other processes of this host wait for; within a process, greenlets and threads too).
"""

import fcntl
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from k8sfromscratch.lab.errors import LabError
from k8sfromscratch.lab.spec import ROOT

LAB_DIR = Path(os.environ.get("KFS_LAB_DIR", ROOT / ".lab"))
"""Everything that belongs to the running lab: record, keys, certificates, kubeconfig, machines."""

CACHE_DIR = Path(os.environ.get("KFS_CACHE_DIR", ROOT / ".cache"))
"""Everything that can be made again: node image, wheelhouse, container images; named by a hash of what they are made from."""

_THREADS = threading.RLock()


class MachineRecord(BaseModel):
    """A process is known by its id and its start time (clock ticks since boot): an id alone may be another's by now."""

    model_config = ConfigDict(extra="forbid")

    root: str
    layers: list[str] = Field(default_factory=list)
    """Trees below the machine's own, uppermost first."""
    pid: int | None = None
    start_time: int | None = None
    cgroup: str = ""


class NetworkRecord(BaseModel):
    model_config = ConfigDict(extra="forbid")

    bridge: str
    nft_table: str
    iptables_chain: str = ""
    """Empty where no rule was needed in iptables' FORWARD chain."""
    sysctls: dict[str, str] = Field(default_factory=dict)
    """Values that we changed, as they were before."""


class LibvirtRecord(BaseModel):
    """Names of what was made at the libvirt of `uri`.  `network` is empty where machines are on a bridge that was there."""

    model_config = ConfigDict(extra="forbid")

    uri: str
    network: str
    pool: str


class Record(BaseModel):
    model_config = ConfigDict(extra="forbid")

    provider: str = ""
    made_with: dict[str, str] = Field(default_factory=dict)
    """What of the spec is settled as long as the lab is there (`lab.settled`)."""
    network: NetworkRecord | None = None
    libvirt: LibvirtRecord | None = None
    machines: dict[str, MachineRecord] = Field(default_factory=dict)
    left: list[str] = Field(default_factory=list)
    """Machines that were removed while the cluster runs: it has their nodes still."""

    @classmethod
    def load(cls, lab_dir: Path = LAB_DIR) -> "Record":
        """Raises LabError for a record that another version wrote, or that is damaged: what it names must not be forgotten."""
        file = lab_dir / "record.json"
        try:
            return cls.model_validate_json(file.read_bytes()) if file.exists() else cls()
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the whole"
            raise LabError(
                f"{file} cannot be read ({where}: {first['msg']}): run `make lab-down` with the version that made the lab;"
                " if the file is damaged, remove what it names by hand, then the file"
            ) from None

    def save(self, lab_dir: Path = LAB_DIR) -> None:
        lab_dir.mkdir(parents=True, exist_ok=True)
        fresh = lab_dir / "record.json.new"
        fresh.write_text(json.dumps(self.model_dump(), indent=2) + "\n")
        fresh.replace(lab_dir / "record.json")

    @classmethod
    @contextmanager
    def locked(cls, lab_dir: Path = LAB_DIR) -> Iterator["Record"]:
        """The record, for reading and changing; saved when the block ends well or badly.  Not for slow work: others wait."""
        lab_dir.mkdir(parents=True, exist_ok=True)
        with _THREADS, open(lab_dir / "lock", "w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            record = cls.load(lab_dir)
            try:
                yield record
            finally:
                record.save(lab_dir)
