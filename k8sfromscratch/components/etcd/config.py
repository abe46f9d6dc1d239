"""etcd's flags, as far as they mean something here.  One member; what belongs to a cluster of several is refused, not ignored."""

from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from k8sfromscratch.process.flags import Flags


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
    auto_compaction_retention: str = Field("0", description="only 0, off, is supported: the apiserver compacts")

    @field_validator("listen_client_urls", "advertise_client_urls", "listen_peer_urls", "initial_advertise_peer_urls", "listen_metrics_urls")
    @classmethod
    def _urls(cls, value: list[str]) -> list[str]:
        for url in value:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.port is None:
                raise ValueError(f"{url!r} is not of the form http://host:port or https://host:port")
        return value

    @field_validator("auto_compaction_retention")
    @classmethod
    def _compaction(cls, value: str) -> str:
        if value not in ("0", "0s", "0h"):
            raise ValueError("automatic compaction is not supported; the apiserver compacts by itself")
        return value

    @model_validator(mode="after")
    def _one_member(self) -> Self:
        members = [part.partition("=")[0] for part in self.initial_cluster.split(",") if part]
        if len(members) > 1:
            raise ValueError(f"--initial-cluster names {len(members)} members ({', '.join(members)}): clusters of several members are not supported yet")
        if members and members[0] != self.name:
            raise ValueError(f"--initial-cluster names {members[0]!r}, and this member is {self.name!r}")
        if any(url.startswith("https:") for url in self.listen_client_urls) and not (self.cert_file and self.key_file):
            raise ValueError("--listen-client-urls has https, which needs --cert-file and --key-file")
        if self.client_cert_auth and not self.trusted_ca_file:
            raise ValueError("--client-cert-auth needs --trusted-ca-file")
        return self
