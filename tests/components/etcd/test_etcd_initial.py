"""Who the members are at the beginning, and what flags, environment and file say together."""

from pathlib import Path

import pytest

from k8sfromscratch.components.etcd.config import EtcdFlags
from k8sfromscratch.components.etcd.environment import flags_of
from k8sfromscratch.components.etcd.initial import InitialClusterError, check_own_part, cluster_id, member_id, parse_initial_cluster, same_members
from k8sfromscratch.process.flags import FlagError

CLUSTER = "b=http://127.0.0.1:2,a=http://127.0.0.1:1,b=http://127.0.0.1:3"


def test_all_derive_the_same_from_the_same_text() -> None:
    assert parse_initial_cluster(CLUSTER) == {"a": ("http://127.0.0.1:1",), "b": ("http://127.0.0.1:2", "http://127.0.0.1:3")}
    # As upstream derives them: the member alone with all flags at their defaults.
    assert f"{member_id(['http://localhost:2380'], 'etcd-cluster'):x}" == "8e9e05c52164694d"
    assert f"{cluster_id([0x8E9E05C52164694D]):x}" == "cdf818194e3a8c32"
    assert member_id(["http://h:1"], "t", 5) != member_id(["http://h:1"], "t", 6), "a member that comes again is another"


@pytest.mark.parametrize("text", ["a", "=http://h:1", "a=h:1", "a=ftp://h:1", "a=http://h:1/path", "a=http://h:1,b=http://h:1", "a=http://h:99999"])
def test_what_is_no_cluster_is_refused(text: str) -> None:
    with pytest.raises(InitialClusterError):
        parse_initial_cluster(text)


def test_flags_that_contradict_one_another_are_refused() -> None:
    cluster = parse_initial_cluster(CLUSTER)
    check_own_part("a", ["http://127.0.0.1:1"], cluster)
    for name, urls, said in (
        ("c", ["http://127.0.0.1:9"], "couldn't find local name 'c'"),
        ("a", ["http://127.0.0.1:9"], "has a=http://127.0.0.1:1 but missing from --initial-advertise-peer-urls"),
        ("a", ["http://127.0.0.1:1", "http://127.0.0.1:9"], "has http://127.0.0.1:9 but missing from --initial-cluster"),
    ):
        with pytest.raises(InitialClusterError, match=said):
            check_own_part(name, urls, cluster)


def test_leases_are_recorded_where_that_is_asked_for() -> None:
    assert EtcdFlags(experimental_enable_lease_checkpoint=True, experimental_enable_lease_checkpoint_persist=True).experimental_enable_lease_checkpoint
    with pytest.raises(ValueError, match="--experimental-enable-lease-checkpoint-persist needs --experimental-enable-lease-checkpoint"):
        EtcdFlags(experimental_enable_lease_checkpoint_persist=True)


def test_a_cluster_that_is_joined_gives_the_identifiers() -> None:
    cluster = parse_initial_cluster("a=http://h:1,b=http://h:2")
    assert same_members(cluster, {7: ("http://h:2",), 8: ("http://h:1",)}) == {"a": 8, "b": 7}
    with pytest.raises(InitialClusterError, match="member count is unequal"):
        same_members(cluster, {7: ("http://h:2",)})
    with pytest.raises(InitialClusterError, match="unmatched member"):
        same_members(cluster, {7: ("http://h:2",), 8: ("http://h:3",)})


def test_a_variable_counts_where_the_flag_is_not_given() -> None:
    environ = {
        "ETCD_NAME": "env",
        "ETCD_DATA_DIR": "/env",
        "ETCD_LISTEN_CLIENT_URLS": "http://h:1",
        "ETCD_UNKNOWN": "x",
        "ETCDCTL_API": "3",
        "ETCD_PRE_VOTE": "false",
    }
    flags, warnings = flags_of(["--data-dir=/flag", "--listen-client-urls", "http://h:2"], environ)
    assert (flags.name, flags.data_dir, flags.listen_client_urls, flags.pre_vote) == ("env", "/flag", ["http://h:2"], False)
    assert sorted(warnings) == [
        "recognized environment variable ETCD_DATA_DIR, but unused: shadowed by corresponding flag",
        "recognized environment variable ETCD_LISTEN_CLIENT_URLS, but unused: shadowed by corresponding flag",
        "unrecognized environment variable ETCD_UNKNOWN=x",
    ]
    with pytest.raises(FlagError, match="the environment counts too"):
        flags_of([], {"ETCD_ELECTION_TIMEOUT": "1"})


def test_a_file_has_all_flags(tmp_path: Path) -> None:
    file = tmp_path / "etcd.yaml"
    file.write_text("name: filed\npre-vote: false\nlisten-client-urls: http://h:1,http://h:2\npeer-transport-security:\n  cert-file: c\n  key-file: k\n")
    flags, _ = flags_of(["--name=flag", f"--config-file={file}"], {"ETCD_NAME": "env"})
    assert (flags.name, flags.pre_vote, flags.listen_client_urls, flags.peer_cert_file) == ("filed", False, ["http://h:1", "http://h:2"], "c")
    file.write_text("nam: x\n")
    with pytest.raises(FlagError, match="unknown flag: --nam"):
        flags_of([f"--config-file={file}"], {})
    with pytest.raises(FlagError, match="cannot be read"):
        flags_of([f"--config-file={tmp_path / 'none'}"], {})
