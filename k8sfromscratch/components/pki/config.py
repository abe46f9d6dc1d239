"""Which certificates and keys a cluster has: the file that `python -m k8sfromscratch.components.pki ensure` carries out.

`name` is a path below the directory without suffix: `etcd/server` stands for `etcd/server.crt` and `etcd/server.key`.

    {"authorities":  [{"name": "ca", "common_name": "kubernetes-ca"}],
     "certificates": [{"name": "apiserver", "authority": "ca", "common_name": "kube-apiserver", "usages": ["server"],
                       "dns_names": ["kubernetes", "kubernetes.default.svc"], "ip_addresses": ["10.96.0.1"]},
                      {"name": "admin", "authority": "ca", "common_name": "kubernetes-admin", "organizations": ["system:masters"]}],
     "key_pairs":    [{"name": "sa", "algorithm": "rsa"}]}
"""

import ipaddress
import re
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from k8sfromscratch.process.flags import Flags

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._:-]*(/[A-Za-z0-9_][A-Za-z0-9._:-]*)*$")]
_DNS_NAME = re.compile(r"(\*\.)?[a-z0-9_]([-a-z0-9_]*[a-z0-9])?(\.[a-z0-9_]([-a-z0-9_]*[a-z0-9])?)*\.?", re.IGNORECASE)


class PkiFlags(Flags):
    """Creates and renews certificates and keys as a spec lists them; touches nothing that is in order.  Prints what it changed as JSON."""

    dir: str = Field(description="directory of the certificates and keys; made if needed")
    spec: str = Field(description="JSON file that lists them")
    dry_run: bool = Field(False, description="only say what would change")


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AuthoritySpec(_Model):
    name: Name
    common_name: str = Field(min_length=1, max_length=64)
    algorithm: Literal["ec", "rsa"] = "ec"
    validity_days: int = Field(3650, ge=1)
    renew_before_days: int = Field(180, ge=0)


class CertificateSpec(_Model):
    """A client certificate's common name is the user, its organizations are the groups."""

    name: Name
    authority: Name
    common_name: str = Field(min_length=1, max_length=64)
    organizations: tuple[str, ...] = ()
    dns_names: tuple[str, ...] = ()
    ip_addresses: tuple[str, ...] = ()
    usages: tuple[Literal["server", "client"], ...] = ("client",)
    algorithm: Literal["ec", "rsa"] = "ec"
    validity_days: int = Field(365, ge=1)
    renew_before_days: int = Field(30, ge=0)

    @field_validator("ip_addresses")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(ipaddress.ip_address(text)) for text in value)

    @field_validator("dns_names")
    @classmethod
    def _names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            if not _DNS_NAME.fullmatch(text):
                raise ValueError(f"{text!r} is not a DNS name")
        return value


class KeyPairSpec(_Model):
    """A key without a certificate: `<name>.key` signs service account tokens, `<name>.pub` checks them."""

    name: Name
    algorithm: Literal["ec", "rsa"] = "rsa"


class PkiSpec(_Model):
    authorities: tuple[AuthoritySpec, ...] = ()
    certificates: tuple[CertificateSpec, ...] = ()
    key_pairs: tuple[KeyPairSpec, ...] = ()

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        names = [a.name for a in self.authorities] + [c.name for c in self.certificates] + [k.name for k in self.key_pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"listed twice: {', '.join(twice)}")
        known = {authority.name for authority in self.authorities}
        for certificate in self.certificates:
            if certificate.authority not in known:
                raise ValueError(f"certificate {certificate.name!r} names an authority that is not listed: {certificate.authority!r}")
        return self
