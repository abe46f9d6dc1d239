"""etcd's flags, as far as they mean something here.  A flag of upstream's that is not among them is refused, not ignored."""

import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from k8sfromscratch.components.etcd.initial import Urls, check_url, parse_initial_cluster
from k8sfromscratch.process.flags import Duration, Flags, duration_s

ELECTION_MAX_MS = 50_000
ELECTION_HEARTBEATS_MIN = 5
"""An election that one late heartbeat could cause would be one too many: upstream's limits."""


class EtcdFlags(Flags):
    """Each flag may also be given as a variable of the environment, --data-dir as ETCD_DATA_DIR; the flag wins."""

    # The member
    name: str = Field("default", description="name of this member")
    data_dir: str = Field("default.etcd", description="directory of the log and the database")
    listen_peer_urls: list[str] = Field(default_factory=lambda: ["http://localhost:2380"], description="where other members are listened to")
    listen_client_urls: list[str] = Field(default_factory=lambda: ["http://localhost:2379"], description="where clients are served")
    listen_metrics_urls: list[str] = Field(default_factory=list, description="more places for /metrics and /health, in plain HTTP/1")
    heartbeat_interval: int = Field(100, gt=0, description="milliseconds between two heartbeats of a leader")
    election_timeout: int = Field(1000, gt=0, description="milliseconds without a heartbeat after which a member would lead")
    snapshot_count: int = Field(5000, gt=0, description="how many entries of the log are kept for members that lag; who lags more gets a snapshot")
    quota_backend_bytes: int = Field(2 * 1024**3, ge=0, description="size of the database at which writes are refused; 0 means the default, 2 GiB")
    max_txn_ops: int = Field(128, gt=0, description="operations that a transaction may have")
    max_request_bytes: int = Field(1_572_864, gt=0, le=64 * 1024**2, description="the longest request that is taken from a client")
    # The cluster
    initial_advertise_peer_urls: list[str] = Field(default_factory=lambda: ["http://localhost:2380"], description="where other members reach this one")
    advertise_client_urls: list[str] = Field(default_factory=lambda: ["http://localhost:2379"], description="where clients shall come, as told by member list")
    initial_cluster: str = Field("", description="the members at the beginning, name=url,…; this one alone where it is empty")
    initial_cluster_state: Literal["new", "existing"] = Field("new", description="new: the cluster begins; existing: this member was added to it")
    initial_cluster_token: str = Field("etcd-cluster", description="tells clusters apart that begin with the same members")
    force_new_cluster: bool = Field(False, description="the other members are lost for good: go on without them, with what this one knows to be committed")
    strict_reconfig_check: bool = Field(True, description="refuse changes of the members after which the cluster would have no quorum")
    pre_vote: bool = Field(True, description="a member asks whether it could win before it begins an election")
    auto_compaction_mode: Literal["periodic", "revision"] = Field("periodic", description="what --auto-compaction-retention counts")
    auto_compaction_retention: str = Field(
        "0", description="how much history is kept: a duration, or a number of hours, when periodic; a number of revisions otherwise; 0 keeps all"
    )
    # Security
    cert_file: str = Field("", description="certificate of the client port")
    key_file: str = Field("", description="key of --cert-file")
    trusted_ca_file: str = Field("", description="CA of client certificates")
    client_cert_auth: bool = Field(False, description="only clients with a certificate of --trusted-ca-file are served")
    peer_cert_file: str = Field("", description="certificate of the peer port, shown to other members too")
    peer_key_file: str = Field("", description="key of --peer-cert-file")
    peer_trusted_ca_file: str = Field("", description="CA of the other members' certificates")
    peer_client_cert_auth: bool = Field(False, description="only members with a certificate of --peer-trusted-ca-file are listened to")
    peer_cert_allowed_cn: str = Field("", description="only members whose certificate has this common name are listened to")
    auth_token: str = Field("simple", description="kind of the tokens that clients get for their password; only simple is supported")
    auth_token_ttl: int = Field(300, gt=0, description="seconds for which a token that is not used is kept")
    bcrypt_cost: int = Field(10, ge=4, le=31, description="what hashing a password costs: twice as much with each step")
    # Operation
    log_level: Literal["debug", "info", "warn", "error", "panic", "fatal"] = Field("info", description="what is logged: this, and what is worse")
    config_file: str = Field("", description="a YAML file with the flags; then nothing is read from the others, nor from the environment")
    experimental_enable_lease_checkpoint: bool = Field(False, description="record what leases have left, so that a new leader does not begin their time anew")
    experimental_enable_lease_checkpoint_persist: bool = Field(False, description="keep these records over a restart: always done, where they are made")
    experimental_initial_corrupt_check: bool = Field(False, description="compare with the other members before clients are served")
    experimental_corrupt_check_time: Duration = Field(0.0, ge=0, description="how often the leader compares what the members hold; 0 is never")
    experimental_watch_progress_notify_interval: Duration = Field(600.0, gt=0, description="how often watches that asked for it are told that nothing happened")
    experimental_max_learners: int = Field(1, gt=0, description="learners that the cluster may have at a time")

    @field_validator("listen_client_urls", "advertise_client_urls", "listen_peer_urls", "initial_advertise_peer_urls", "listen_metrics_urls")
    @classmethod
    def _urls(cls, value: list[str]) -> list[str]:
        return [check_url(url) for url in value]

    @field_validator("auth_token")
    @classmethod
    def _tokens(cls, value: str) -> str:
        if value != "simple":
            raise ValueError("only simple tokens are supported")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.retention < 0:
            raise ValueError("--auto-compaction-retention is below zero")
        for prefix, urls in (("", self.listen_client_urls), ("peer-", [*self.listen_peer_urls, *self.initial_advertise_peer_urls])):
            secure = any(url.startswith("https:") for url in urls)
            if secure and not (getattr(self, _field(prefix, "cert_file")) and getattr(self, _field(prefix, "key_file"))):
                raise ValueError(f"--listen-{prefix or 'client-'}urls has https, which needs --{prefix}cert-file and --{prefix}key-file")
        if self.client_cert_auth and not self.trusted_ca_file:
            raise ValueError("--client-cert-auth needs --trusted-ca-file")
        if (self.peer_client_cert_auth or self.peer_cert_allowed_cn) and not self.peer_trusted_ca_file:
            raise ValueError("--peer-client-cert-auth and --peer-cert-allowed-cn need --peer-trusted-ca-file")
        if self.election_timeout < ELECTION_HEARTBEATS_MIN * self.heartbeat_interval:
            raise ValueError(
                f"--election-timeout[{self.election_timeout}ms] should be at least as {ELECTION_HEARTBEATS_MIN} times as "
                f"--heartbeat-interval[{self.heartbeat_interval}ms]"
            )
        if self.election_timeout > ELECTION_MAX_MS:
            raise ValueError(f"--election-timeout[{self.election_timeout}ms] is too long, and should be set less than {ELECTION_MAX_MS}ms")
        if self.initial_cluster_state == "existing" and not self.initial_cluster:
            raise ValueError("--initial-cluster-state=existing needs --initial-cluster with the members that are there, and this one")
        if self.experimental_enable_lease_checkpoint_persist and not self.experimental_enable_lease_checkpoint:
            raise ValueError("--experimental-enable-lease-checkpoint-persist needs --experimental-enable-lease-checkpoint")
        parse_initial_cluster(self.initial_cluster)
        return self

    @property
    def members(self) -> dict[str, Urls]:
        """Name → peer URLs of all with which the cluster begins.  Raises ValueError."""
        return parse_initial_cluster(self.initial_cluster) or {self.name: tuple(sorted(self.initial_advertise_peer_urls))}

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


def _field(prefix: str, name: str) -> str:
    return prefix.replace("-", "_") + name
