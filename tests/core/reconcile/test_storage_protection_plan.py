"""Claims and volumes stay while they are in use."""

from k8sfromscratch.core.reconcile.plan import NOTHING
from k8sfromscratch.core.reconcile.storage_protection import plan_claim, plan_class, plan_volume

PVC, PV = "kubernetes.io/pvc-protection", "kubernetes.io/pv-protection"


def claim(make, **meta):
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": make.meta("data", **meta), "spec": {}, "status": {"phase": "Bound"}}


def volume(make, phase, **meta):
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": make.meta("v", None, **meta), "spec": {}, "status": {"phase": phase}}


def using(make, node, **volume):
    pod = make.pod("web", node=node)
    pod["spec"]["volumes"] = [{"name": "data", **volume}]
    return pod


def finalizers(plan):
    (write,) = plan.steps
    return write.object["metadata"]["finalizers"]


def test_a_claim_is_protected_and_let_go_by_the_last_pod(make):
    assert finalizers(plan_claim(claim(make), ())) == [PVC]
    assert plan_claim(claim(make, finalizers=[PVC]), ()) == NOTHING
    going = claim(make, finalizers=["mine", PVC], deletionTimestamp=make.at(0))
    by_name = using(make, "n1", persistentVolumeClaim={"claimName": "data"})
    assert plan_claim(going, [by_name]) == NOTHING
    assert finalizers(plan_claim(going, [])) == ["mine"]
    # Not bound to a node yet: its kubelet will not start it on a claim that is going.
    assert finalizers(plan_claim(going, [using(make, "", persistentVolumeClaim={"claimName": "data"})])) == ["mine"]
    assert finalizers(plan_claim(going, [using(make, "n1", persistentVolumeClaim={"claimName": "other"})])) == ["mine"]


def test_the_claim_of_an_ephemeral_volume_is_its_pods(make):
    going = claim(make, finalizers=[PVC], deletionTimestamp=make.at(0))
    going["metadata"]["name"] = "web-data"
    assert plan_claim(going, [using(make, "n1", ephemeral={})]) == NOTHING


def test_a_volume_goes_when_it_is_bound_no_more(make):
    assert finalizers(plan_volume(volume(make, "Available"))) == [PV]
    assert plan_volume(volume(make, "Bound", finalizers=[PV], deletionTimestamp=make.at(0))) == NOTHING
    assert finalizers(plan_volume(volume(make, "Released", finalizers=[PV], deletionTimestamp=make.at(0)))) == []


def test_an_attributes_class_goes_when_nothing_names_it_any_more(make):
    def named(**meta):
        return {"apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttributesClass", "metadata": make.meta("gold", None, **meta)}

    vac = "kubernetes.io/vac-protection"
    assert finalizers(plan_class(named(), (), ())) == [vac]
    going = named(finalizers=[vac], deletionTimestamp=make.at(0))
    assert finalizers(plan_class(going, [claim(make)], [volume(make, "Bound")])) == []
    wanting, having, changing, held = claim(make), claim(make), claim(make), volume(make, "Bound")
    wanting["spec"]["volumeAttributesClassName"] = "gold"
    having["status"]["currentVolumeAttributesClassName"] = "gold"
    changing["status"]["modifyVolumeStatus"] = {"targetVolumeAttributesClassName": "gold", "status": "InProgress"}
    held["spec"]["volumeAttributesClassName"] = "gold"
    for claims, volumes in (([wanting], []), ([having], []), ([changing], []), ([], [held])):
        assert plan_class(going, claims, volumes) == NOTHING
