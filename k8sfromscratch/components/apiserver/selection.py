"""Label and field selectors of one request, and what they let through."""

from dataclasses import dataclass

from k8sfromscratch.api.errors import BadRequest
from k8sfromscratch.components.apiserver.catalog import Served
from k8sfromscratch.components.apiserver.entries import Entry, FieldsOf
from k8sfromscratch.core.selectors import fields, labels
from k8sfromscratch.process.http import Request


@dataclass(frozen=True, slots=True)
class Selection:
    """`namespace` None means all.  `exact_name` is set where metadata.name must be one name: then no list need be walked."""

    namespace: str | None
    labels: labels.Selector | None
    fields: fields.FieldSelector | None
    fields_of: FieldsOf

    @property
    def everything(self) -> bool:
        """Nothing to test, once the namespace's keys are taken."""
        return self.labels is None and self.fields is None

    def matches(self, entry: Entry) -> bool:
        if self.everything:
            return True
        entry_labels, entry_fields = entry.selectable(self.fields_of)
        if self.labels is not None and not self.labels.matches(entry_labels):
            return False
        return self.fields is None or self.fields.matches(entry_fields)

    def in_namespace(self, key: str) -> bool:
        return self.namespace is None or key.startswith(self.namespace + "/")


def selection(request: Request, served: Served, namespace: str | None) -> Selection:
    """Raises BadRequest for a malformed selector or a field that this resource cannot be selected by."""
    label_text, field_text = request.arg("labelSelector"), request.arg("fieldSelector")
    field_selector = fields.parse(field_text) if field_text else None
    if field_selector is not None:
        unknown = [term.field for term in field_selector.terms if term.field not in served.cache.fields_of.names]
        if unknown:
            if set(served.cache.fields_of.names) == {"metadata.name", "metadata.namespace"}:
                raise BadRequest(f'"{unknown[0]}" is not a known field selector: only "metadata.name", "metadata.namespace"')
            raise BadRequest(f"field label not supported: {unknown[0]}")
    return Selection(namespace or None, labels.parse(label_text) if label_text else None, field_selector, served.cache.fields_of)
