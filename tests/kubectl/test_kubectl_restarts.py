"""What kubectl sees of servers that die and come back."""


def test_a_killed_apiserver_comes_back_with_everything(cluster, kubectl):
    kubectl("create", "configmap", "kept", "--from-literal=a=b")
    cluster.processes["apiserver"].kill()
    cluster.processes["apiserver"].wait()
    assert "refused" in kubectl.fails("get", "configmaps")
    cluster.start_apiserver()
    cluster.wait_ready()
    assert kubectl.json("get", "configmap", "kept")["data"] == {"a": "b"}


def test_a_killed_etcd_loses_nothing_and_watches_go_on(cluster, kubectl):
    kubectl("create", "configmap", "kept", "--from-literal=a=b")
    with kubectl.start("get", "configmaps", "--watch", "-o", "name") as watching:
        assert watching.line() == "configmap/kept\n"
        cluster.processes["etcd"].kill()
        cluster.processes["etcd"].wait()
        cluster.start_etcd()
        cluster.wait_ready()
        assert kubectl.json("get", "configmap", "kept")["data"] == {"a": "b"}
        kubectl("create", "configmap", "new")
        assert watching.line() == "configmap/new\n"
