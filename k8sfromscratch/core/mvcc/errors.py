"""What the store refuses, with etcd's words; `storage.interface` shows them to callers under the same names.

MvccError
├── Compacted(compact_revision)
├── FutureRevision
├── LeaseNotFound, LeaseExists
├── DuplicateKey                  one transaction puts the same key twice
└── KeyNotFound                   ignore_value or ignore_lease on a key that does not exist
"""


class MvccError(Exception):
    pass


class Compacted(MvccError):
    def __init__(self, compact_revision: int) -> None:
        super().__init__("etcdserver: mvcc: required revision has been compacted")
        self.compact_revision = compact_revision


class FutureRevision(MvccError):
    def __init__(self) -> None:
        super().__init__("etcdserver: mvcc: required revision is a future revision")


class LeaseNotFound(MvccError):
    def __init__(self) -> None:
        super().__init__("etcdserver: requested lease not found")


class LeaseExists(MvccError):
    def __init__(self) -> None:
        super().__init__("etcdserver: lease already exists")


class DuplicateKey(MvccError):
    def __init__(self) -> None:
        super().__init__("etcdserver: duplicate key given in txn request")


class KeyNotFound(MvccError):
    def __init__(self) -> None:
        super().__init__("etcdserver: key not found")
