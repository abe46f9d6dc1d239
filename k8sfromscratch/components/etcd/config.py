"""etcd's flags, as far as they mean something here.  One member; what belongs to a cluster of several is refused, not ignored."""

import re
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from k8sfromscratch.process.flags import Flags, duration_s


class EtcdFlags(Flags):
    name: str = Field("default", description="name of this member")
    data_dir: str = Field("default.etcd", description="directory of the log and the database")
    listen_client_urls: list[str] = Field(default_factory=lambda: ["http://localhost:2379"], description="where clients are served")
    advertise_client_urls: list[str] = Field(default_factory=lambda: ["http://localhost:2379"], description="where clients shall come, as told by member list")
    listen_peer_urls: list[str] = Field(default_factory=lambda: ["http://localhost:2380"], description="kept for the member list; a single member has no peers")
    initial_advertise_peer_urls: list[str] = Field(
        default_factory=lambda: ["http://localhost:2380"], description="this member's peer URLs, as told by member list"
    )
    initial_cluster: str = Field("", description="the first members, name=url,…; only this one is supported")
    initial_cluster_state: str = Field("new", description="new or existing; a single member may be either")
    initial_cluster_token: str = Field("etcd-cluster", description="makes the cluster's identifier")
    listen_metrics_urls: list[str] = Field(default_factory=list, description="more places for /metrics and /health, in plain HTTP/1")
    cert_file: str = Field("", description="certificate of the client port")
    key_file: str = Field("", description="key of --cert-file")
    trusted_ca_file: str = Field("", description="CA of client certificates")
    client_cert_auth: bool = Field(False, description="only clients with a certificate of --trusted-ca-file are served")
    quota_backend_bytes: int = Field(2 * 1024**3, ge=0, description="size of the database at which writes are refused; 0 means the default, 2 GiB")
    auth_token: str = Field("simple", description="kind of the tokens that clients get for their password; only simple is supported")
    auth_token_ttl: int = Field(300, gt=0, description="seconds for which a token that is not used is kept")
    bcrypt_cost: int = Field(10, ge=4, le=31, description="what hashing a password costs: twice as much with each step")
    auto_compaction_mode: Literal["periodic", "revision"] = Field("periodic", description="what --auto-compaction-retention counts")
    auto_compaction_retention: str = Field(
        "0", description="how much history is kept: a duration, or a number of hours, when periodic; a number of revisions otherwise; 0 keeps all"
    )

    @field_validator("listen_client_urls", "advertise_client_urls", "listen_peer_urls", "initial_advertise_peer_urls", "listen_metrics_urls")
    @classmethod
    def _urls(cls, value: list[str]) -> list[str]:
        for url in value:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.port is None:
                raise ValueError(f"{url!r} is not of the form http://host:port or https://host:port")
        return value

    @field_validator("auth_token")
    @classmethod
    def _tokens(cls, value: str) -> str:
        if value != "simple":
            raise ValueError("only simple tokens are supported")
        return value

    @model_validator(mode="after")
    def _one_member(self) -> Self:
        check_one_member(self.name, self.initial_cluster)
        if self.retention < 0:
            raise ValueError("--auto-compaction-retention is below zero")
        if any(url.startswith("https:") for url in self.listen_client_urls) and not (self.cert_file and self.key_file):
            raise ValueError("--listen-client-urls has https, which needs --cert-file and --key-file")
        if self.client_cert_auth and not self.trusted_ca_file:
            raise ValueError("--client-cert-auth needs --trusted-ca-file")
        return self

    @property
    def retention(self) -> float:
        """Of automatic compaction: seconds when periodic, revisions otherwise; 0 is off.  Raises ValueError."""
        text = self.auto_compaction_retention
        if self.auto_compaction_mode == "revision":
            if not re.fullmatch(r"\d+", text):
                raise ValueError(f"--auto-compaction-retention is a number of revisions in the mode revision, and {text!r} is none")
            return float(text)
        if re.fullmatch(r"\d+", text):
            return int(text) * 3600.0
        try:
            return float(str(duration_s(text)))
        except ValueError:
            raise ValueError(f"--auto-compaction-retention is a duration such as 5m, or a number of hours, and {text!r} is neither") from None


def check_one_member(name: str, initial_cluster: str) -> None:
    """Raises ValueError where it names other members than this one."""
    members = [part.partition("=")[0] for part in initial_cluster.split(",") if part]
    if len(members) > 1:
        raise ValueError(f"--initial-cluster names {len(members)} members ({', '.join(members)}): clusters of several members are not supported yet")
    if members and members[0] != name:
        raise ValueError(f"--initial-cluster names {members[0]!r}, and this member is {name!r}")
