"""Schemathesis sends what the served OpenAPI documents allow, and what they forbid: nothing is answered with a 5xx or a traceback.

Building a strategy for a pod template takes seconds, so a plain run takes every FRACTION-th operation, from the first on;
KFS_FUZZ=all takes all of them and more examples.
"""

import os
import random
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings

from k8sfromscratch.testing.kfs_process import Up, kfs_up

ALL = os.environ.get("KFS_FUZZ") == "all"
FRACTION = 1 if ALL else 7
EXAMPLES = 20 if ALL else 4

_GROUPS = ["api/v1", "apis/apps/v1", "apis/batch/v1", "apis/networking.k8s.io/v1", "apis/rbac.authorization.k8s.io/v1", "apis/autoscaling/v2"]
_GROUPS += ["apis/apiextensions.k8s.io/v1", "apis/authorization.k8s.io/v1", "apis/coordination.k8s.io/v1", "apis/discovery.k8s.io/v1", "apis/policy/v1"]
_GROUPS += ["apis/storage.k8s.io/v1", "apis/admissionregistration.k8s.io/v1", "apis/certificates.k8s.io/v1", "apis/scheduling.k8s.io/v1"]
_GROUPS += ["apis/apiregistration.k8s.io/v1", "apis/events.k8s.io/v1", "apis/flowcontrol.apiserver.k8s.io/v1", "apis/node.k8s.io/v1"]
# What hangs by design, or ends what the others need.
_LEFT_OUT = ("/exec", "/attach", "/portforward", "/proxy", "/log", "/watch/")


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with kfs_up(tmp_path_factory.mktemp("home"), "--nodes", "0") as running:
        yield running


@pytest.fixture(scope="module")
def session(up: Up, tmp_path_factory: pytest.TempPathFactory) -> Iterator[requests.Session]:
    authority: Path = tmp_path_factory.mktemp("ca") / "ca.crt"
    authority.write_bytes(up.certificate_authority)
    with requests.Session() as made:
        made.trust_env, made.verify = False, str(authority)
        made.headers["Authorization"] = f"Bearer {up.token}"
        yield made


def _operations(document: Any) -> list[Any]:
    schema = schemathesis.openapi.from_dict(document)
    return [each.ok() for each in schema.get_all_operations() if not any(part in each.ok().path for part in _LEFT_OUT)]


def _check(answer: requests.Response) -> None:
    about = f"{answer.request.method} {answer.request.path_url} {answer.request.body!r}: {answer.status_code} {answer.text[:500]}"
    # 504 is upstream's answer to a resourceVersion of the future.
    assert answer.status_code < 500 or answer.status_code == 504, about
    if answer.status_code >= 400:
        said = answer.json()
        assert (said["kind"], said["status"], said["code"]) == ("Status", "Failure", answer.status_code), about
        assert said["reason"] and said["message"], about


@pytest.mark.timeout(1800 if ALL else 600)
@pytest.mark.parametrize("group", _GROUPS)
def test_no_operation_answers_with_a_fault(up: Up, session: requests.Session, group: str) -> None:
    document = session.get(f"{up.server}/openapi/v3/{group}").json()
    codes: Counter[int] = Counter()
    operations = _operations(document)
    for operation in operations[:: FRACTION if len(operations) > FRACTION else 1]:
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
            _send(session, up.server, operation, mode, codes)
    assert sum(codes.values()) > 0 and set(codes) - {404}, codes


def _send(session: requests.Session, server: str, operation: Any, mode: schemathesis.GenerationMode, codes: "Counter[int]") -> None:
    where = random.Random(f"{operation.method} {operation.path}")

    @seed(1)
    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
    @given(case=operation.as_strategy(generation_mode=mode))
    def sent(case: Any) -> None:
        parameters = case.path_parameters or {}
        if "namespace" in parameters and where.random() < 0.9:
            parameters["namespace"] = "default"
        request = case.as_transport_kwargs(base_url=server)
        for name in ("cookies", "watch"):
            request.pop(name, None)
        (request.get("params") or {}).pop("watch", None)
        request["headers"] = {**dict(request.get("headers") or {}), "Authorization": session.headers["Authorization"]}
        answer = session.request(timeout=30, **request)
        codes[answer.status_code] += 1
        _check(answer)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the generators: a pattern they cannot invert, an example they dropped
        try:
            sent()
        except Exception as error:
            # An operation without a parameter or body has nothing that could be wrong.
            if type(error).__name__ != "Unsatisfiable" or mode is schemathesis.GenerationMode.POSITIVE:
                raise
