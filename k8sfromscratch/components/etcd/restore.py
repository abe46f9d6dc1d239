"""`python -m k8sfromscratch.components.etcd.restore SNAPSHOT --data-dir DIR`: a new member, of a new cluster, out of a snapshot, ours or upstream's.

    one snapshot ─► restore --name a --initial-cluster a=…,b=…,c=… on a, the same on b and c ─► three members of one cluster, started as ever

Each of the new members is restored by itself, with the same flags but for its name and URLs: all derive the same identifiers, begin with the same
state at the same index, and with the members that the flags name.  Those that the snapshot had are not among them: what was one cluster before
cannot be mixed up with what is one now, as long as the members or the token differ.

The flags are those of `etcdutl snapshot restore`.  The data directory must not be there yet: nothing is ever written over.  It is made beside its
place and moved there whole, so that a restore that fails leaves nothing that looks like a member.
"""

import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from k8sfromscratch.components.etcd.initial import Urls, check_own_part, cluster_id, member_id, parse_initial_cluster
from k8sfromscratch.process.flags import FlagError, Flags
from k8sfromscratch.storage.engine import QUOTA_BYTES
from k8sfromscratch.storage.folders import sync_folders
from k8sfromscratch.storage.group import MemberInfo
from k8sfromscratch.storage.lmdb_backend import Identity, LmdbBackend
from k8sfromscratch.storage.snapshot import SnapshotError, read_snapshot


class RestoreFlags(Flags):
    data_dir: str = Field("", description="the directory to make; NAME.etcd where it is not given")
    name: str = Field("default", description="name of the member that will start on it")
    initial_cluster: str = Field("", description="the members of the new cluster, name=url,…; this one alone where it is empty")
    initial_advertise_peer_urls: list[str] = Field(default_factory=lambda: ["http://localhost:2380"], description="where other members reach this one")
    initial_cluster_token: str = Field("etcd-cluster", description="tells clusters apart that begin with the same members")
    skip_hash_check: bool = Field(False, description="take a copy of a database that has no checksum behind it")
    quota_backend_bytes: int = Field(QUOTA_BYTES, gt=0, description="the most that the database may hold")

    @model_validator(mode="after")
    def _member_of_it(self) -> Self:
        check_own_part(self.name, self.initial_advertise_peer_urls, self.members)
        return self

    @property
    def members(self) -> dict[str, Urls]:
        """Raises ValueError."""
        return parse_initial_cluster(self.initial_cluster) or {self.name: tuple(sorted(self.initial_advertise_peer_urls))}


@dataclass(frozen=True)
class Beginning:
    """Who the new member is, and with whom it begins."""

    identity: Identity
    members: Sequence[MemberInfo]

    @classmethod
    def of(cls, flags: RestoreFlags) -> "Beginning":
        ids = {name: member_id(urls, flags.initial_cluster_token) for name, urls in flags.members.items()}
        members = tuple(MemberInfo(ids[name], name, urls) for name, urls in flags.members.items())
        return cls(Identity(cluster_id(ids.values()), ids[flags.name]), members)


def restore(snapshot: Path, data_dir: Path, beginning: Beginning, *, quota_bytes: int = QUOTA_BYTES, check: bool = True) -> int:
    """The revision that the new member has.  Raises SnapshotError, OSError."""
    if data_dir.exists():
        raise SnapshotError(f"{data_dir} is there already: a restore writes nothing over")
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{data_dir.name}.", dir=data_dir.parent))
    try:
        backend = LmdbBackend(made / "db", quota_bytes)
        try:
            revision = read_snapshot(snapshot, backend, beginning.members, check=check)
            backend.identify(beginning.identity)
        finally:
            backend.close()
        sync_folders(made / "db", made)
        made.rename(data_dir)
        sync_folders(data_dir.parent)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    return revision


def main(argv: Sequence[str]) -> int:
    paths = [word for number, word in enumerate(argv) if not word.startswith("--") and (number == 0 or not _takes_value(argv[number - 1]))]
    try:
        if len(paths) != 1:
            raise FlagError("one snapshot is needed: restore SNAPSHOT --data-dir DIR")
        flags = RestoreFlags.parse([word for word in argv if word is not paths[0]])
    except FlagError as error:
        print(f"etcd restore: {error}", file=sys.stderr)
        return 2
    target = Path(flags.data_dir or f"{flags.name}.etcd")
    try:
        revision = restore(Path(paths[0]), target, Beginning.of(flags), quota_bytes=flags.quota_backend_bytes, check=not flags.skip_hash_check)
    except (SnapshotError, OSError) as error:
        print(f"etcd restore: {error}", file=sys.stderr)
        return 1
    print(f"{target}: restored at revision {revision}")
    return 0


def _takes_value(word: str) -> bool:
    """Whether the next word belongs to this flag."""
    return word.startswith("--") and "=" not in word and word not in ("--skip-hash-check", "--help")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
