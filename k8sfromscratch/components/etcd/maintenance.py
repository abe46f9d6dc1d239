"""The Maintenance service: what one asks a member about itself, and has it do with its file.

With authentication on, what shows or changes all of the data is for root only, as upstream has it; status and alarms are everybody's.
"""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from k8sfromscratch.components.etcd.connection import Call, OpenStream, Unary
from k8sfromscratch.components.etcd.member import VERSION, Member, fail, refusing
from k8sfromscratch.core.mvcc.auth_errors import AuthError
from k8sfromscratch.core.rpc import grpc
from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.storage.interface import StorageError
from k8sfromscratch.storage.machine import ALARM_GET, Kind

SNAPSHOT_CHUNK_BYTES = 32 * 1024
"""As upstream's."""
UNSENT_MAX_BYTES = 4 * 1024 * 1024
"""What may wait for a client that reads a snapshot slowly."""
LOOK_EVERY_S = 0.005
"""How often it is looked whether such a client has read on."""
STALLED_S = 60.0
"""A client that reads nothing for so long does not want the snapshot."""

ALARM_NAMES = {1: "NOSPACE", 2: "CORRUPT"}


class MaintenanceServices:
    def __init__(self, member: Member, folder: Path) -> None:
        """A snapshot is gathered in a file without a name in `folder`."""
        self._member, self._engine, self._folder = member, member.engine, folder

    def unary(self) -> dict[str, Unary]:
        return {
            "/etcdserverpb.Maintenance/Status": self.status,
            "/etcdserverpb.Maintenance/Alarm": self.alarm,
            "/etcdserverpb.Maintenance/Hash": self.hash,
            "/etcdserverpb.Maintenance/HashKV": self.hash_kv,
            "/etcdserverpb.Maintenance/Defragment": self.defragment,
            "/etcdserverpb.Maintenance/MoveLeader": self.move_leader,
            "/etcdserverpb.Maintenance/Downgrade": self.downgrade,
        }

    def streams(self) -> dict[str, OpenStream]:
        return {"/etcdserverpb.Maintenance/Snapshot": lambda call: SnapshotStream(call, self._member, self._folder)}

    def status(self, data: bytes, call: Call) -> None:
        size, in_use = self._engine.size_bytes()
        told = [f"memberID:{member} alarm:{ALARM_NAMES[alarm]} " for member, alarm in self._member.alarms.active()]
        if not self._engine.leader:
            told.insert(0, "etcdserver: no leader")
        response = m.StatusResponse(
            header=self._member.header_now(),
            version=VERSION,
            dbSize=size,
            dbSizeInUse=in_use,
            leader=self._engine.leader,
            raftIndex=self._engine.committed,
            raftAppliedIndex=self._engine.applied,
            raftTerm=self._engine.term,
            errors=told,
            isLearner=self._member.is_learner,
        )
        call.reply(response.SerializeToString())

    @refusing
    def alarm(self, data: bytes, call: Call) -> None:
        request = m.AlarmRequest.FromString(data)
        if request.action != ALARM_GET and request.alarm not in ALARM_NAMES:
            call.finish(grpc.INVALID_ARGUMENT, f"etcdserver: there is no alarm of the kind {request.alarm}")
            return

        def response(changed: list[tuple[int, int]]) -> Any:
            alarms = [m.AlarmMember(memberID=member, alarm=alarm) for member, alarm in changed]
            return m.AlarmResponse(header=self._member.header_now(), alarms=alarms)

        if request.action == ALARM_GET:
            call.reply(response(self._member.alarms.active(request.alarm)).SerializeToString())
        else:
            self._member.propose(call, Kind.ALARM, data, request, self._member.answering(call, response))

    @refusing
    def hash(self, data: bytes, call: Call) -> None:
        self._member.require_admin(call)

        async def work() -> None:
            found = await self._engine.checksum(0)
            call.reply(m.HashResponse(header=self._member.header_now(), hash=found.crc32).SerializeToString())

        self._member.spawn(work(), call)

    @refusing
    def hash_kv(self, data: bytes, call: Call) -> None:
        self._member.require_admin(call)
        revision = m.HashKVRequest.FromString(data).revision

        async def work() -> None:
            call.reply((await self._member.hash_kv(revision)).SerializeToString())

        self._member.spawn(work(), call)

    @refusing
    def defragment(self, data: bytes, call: Call) -> None:
        self._member.require_admin(call)

        async def work() -> None:
            await self._engine.defragment()
            call.reply(m.DefragmentResponse(header=self._member.header_now()).SerializeToString())

        self._member.spawn(work(), call)

    @refusing
    def move_leader(self, data: bytes, call: Call) -> None:
        self._member.require_admin(call)
        target = m.MoveLeaderRequest.FromString(data).targetID

        async def work() -> None:
            await self._engine.transfer_leadership(target)
            call.reply(m.MoveLeaderResponse(header=self._member.header_now()).SerializeToString())

        self._member.spawn(work(), call)

    @refusing
    def downgrade(self, data: bytes, call: Call) -> None:
        self._member.require_admin(call)
        call.finish(grpc.UNIMPLEMENTED, "etcdserver: downgrades are not supported: this server has one version of its data")


class SnapshotStream:
    """One Snapshot call: gathered in a file first, so that a slow client holds nothing open in the database."""

    def __init__(self, call: Call, member: Member, folder: Path) -> None:
        self._call, self._member, self._folder = call, member, folder
        self._gone = False

    def message(self, data: bytes) -> None:
        try:
            self._member.require_admin(self._call)
        except AuthError as error:
            fail(self._call, error)
            return
        self._member.spawn(self._send(), self._call)

    def half_closed(self) -> None:
        return None

    def closed(self) -> None:
        self._gone = True

    async def _send(self) -> None:
        with tempfile.TemporaryFile(dir=self._folder) as file:
            await self._member.engine.snapshot(file)
            left = await asyncio.to_thread(file.seek, 0, 2)
            await asyncio.to_thread(file.seek, 0)
            while left and not self._gone:
                await self._room()
                blob = await asyncio.to_thread(file.read, UNSENT_MAX_BYTES)
                for at in range(0, len(blob), SNAPSHOT_CHUNK_BYTES):
                    chunk = blob[at : at + SNAPSHOT_CHUNK_BYTES]
                    left -= len(chunk)
                    self._call.send(m.SnapshotResponse(header=self._member.header_now(), remaining_bytes=left, blob=chunk).SerializeToString())
        if not self._gone:
            self._call.finish()

    async def _room(self) -> None:
        """Returns when the client has read most of what it was sent."""
        loop = asyncio.get_running_loop()
        unsent, since = self._call.unsent_bytes, loop.time()
        while unsent > UNSENT_MAX_BYTES and not self._gone:
            await asyncio.sleep(LOOK_EVERY_S)
            now = self._call.unsent_bytes
            if now < unsent:
                unsent, since = now, loop.time()
            elif loop.time() - since > STALLED_S:
                raise StorageError("the client does not read the snapshot that it asked for")
