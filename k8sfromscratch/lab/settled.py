"""What of a spec cannot change while its lab is there: who makes the machines and where, what things are named after, their addresses, the masters.

    first thing made ──► `settle`: into the record       any later run ──► `check`: refuses a spec that wants another
                                                         down, status, stop, start ──► `of_lab`: go by the record

A spec comes from a file and from the environment, so the second command is easily given another than the first.  Going by that one, `make
lab-down` would look for machines of another kind or name, find none, and forget those that run.
"""

from collections.abc import Mapping

from k8sfromscratch.lab.errors import SpecError
from k8sfromscratch.lab.record import Record
from k8sfromscratch.lab.spec import ClusterSpec

FIELDS = ("provider", "name", "machine_cidr", "masters")
LIBVIRT_FIELDS = ("libvirt_uri", "libvirt_bridge", "image", "memory_mb", "cpus")
"""A machine of a cloud image cannot read the seed of one that is not, which it is given whenever it starts; and domains stay as they were defined."""


def of_lab(record: Record) -> Mapping[str, str]:
    """Field → value of the lab that is there; of a lab that an earlier version made, as much as it has written down."""
    return record.made_with or ({"provider": record.provider} if record.provider else {})


def check(spec: ClusterSpec) -> None:
    """Raises SpecError where a lab is there that was made with another value."""
    made = of_lab(Record.load())
    for field in (*FIELDS, *LIBVIRT_FIELDS):
        wanted = str(getattr(spec, field))
        if made.get(field, wanted) != wanted:
            variable = f"LAB_{field.upper()}"
            raise SpecError(
                f"cluster spec: {field}: the lab that is there was made with {made[field]!r}, and this cannot be changed (got {wanted!r}): "
                f"put {variable} back, or `make lab-down` first; a second lab needs a directory of its own, in KFS_LAB_DIR"
            )


def settle(spec: ClusterSpec, record: Record) -> None:
    """Before the first thing is made."""
    fields = (*FIELDS, *(LIBVIRT_FIELDS if spec.provider == "libvirt" else ()))
    record.provider = spec.provider
    record.made_with = {field: str(getattr(spec, field)) for field in fields}
