"""What a webhook configuration may say, above all about whom the apiserver calls."""

import pytest

from k8sfromscratch.api.registry import VALIDATING_WEBHOOK_CONFIGURATIONS
from k8sfromscratch.api.validation import validate_create

RULE = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
SERVICE = {"namespace": "n", "name": "s", "port": 443}


def faults(**changes):
    webhook = {
        "name": "w.example.com",
        "clientConfig": {"url": "https://example.com/path"},
        "rules": [RULE],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        **changes,
    }
    causes = validate_create(VALIDATING_WEBHOOK_CONFIGURATIONS, {"metadata": {"name": "c"}, "webhooks": [webhook]})
    return [(cause.field.removeprefix("webhooks[0]."), cause.message) for cause in causes]


FORM = "desired format: https://host[:port]/path"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://example.com", f"Invalid value: \"http\": 'https' is the only allowed URL scheme; {FORM}"),
        ("file:///etc/passwd", f"Invalid value: \"file\": 'https' is the only allowed URL scheme; {FORM}"),
        ("https:///path", f'Invalid value: "": host must be specified; {FORM}'),
        ("https://user:secret@example.com", 'Invalid value: "user:secret": user information is not permitted in the URL'),
        ("https://example.com/#part", 'Invalid value: "part": fragments are not permitted in the URL'),
        ("https://example.com/?a=b", 'Invalid value: "a=b": query parameters are not permitted in the URL'),
        ("https://[::1", "Required value: url must be a valid URL"),
        ("https://example.com:port/", "Required value: url must be a valid URL"),
    ],
)
def test_urls_that_are_refused(url, message):
    assert any(field == "clientConfig.url" and said.startswith(message) for field, said in faults(clientConfig={"url": url}))


def test_urls_and_services_that_are_taken():
    assert faults() == []
    assert faults(clientConfig={"url": "https://[::1]:8443/a/b"}) == []
    assert faults(clientConfig={"service": {**SERVICE, "path": "/a/b-c/"}}) == []


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"clientConfig": {}}, "clientConfig", "Required value: exactly one of url or service is required"),
        ({"clientConfig": {"url": "https://a", "service": SERVICE}}, "clientConfig", "Required value: exactly one of url or service is required"),
        ({"clientConfig": {"service": {"name": "s"}}}, "clientConfig.service.namespace", "Required value: service namespace is required"),
        ({"clientConfig": {"service": {**SERVICE, "port": 0}}}, "clientConfig.service.port", "Invalid value: 0: port is not valid"),
        ({"clientConfig": {"service": {**SERVICE, "path": "a"}}}, "clientConfig.service.path", "Invalid value: \"a\": must start with a '/'"),
        ({"clientConfig": {"service": {**SERVICE, "path": "//"}}}, "clientConfig.service.path", 'Invalid value: "//": segment[0] may not be empty'),
        ({"clientConfig": {"service": {**SERVICE, "path": "/.."}}}, "clientConfig.service.path", 'Invalid value: "/..": segment[0]: '),
        ({"name": "short"}, "name", 'Invalid value: "short": should be a domain with at least three segments separated by dots'),
        ({"sideEffects": "Some"}, "sideEffects", 'Unsupported value: "Some": supported values: "None", "NoneOnDryRun"'),
        ({"timeoutSeconds": 31}, "timeoutSeconds", "Invalid value: 31: the timeout value must be between 1 and 30 seconds"),
        ({"admissionReviewVersions": []}, "admissionReviewVersions", "Required value: must specify one of v1, v1beta1"),
        ({"admissionReviewVersions": ["v2"]}, "admissionReviewVersions", 'Invalid value: ["v2"]: must include at least one of v1, v1beta1'),
        ({"admissionReviewVersions": ["v1", "v1"]}, "admissionReviewVersions[1]", 'Duplicate value: "v1"'),
        ({"matchConditions": [{"name": "a", "expression": " "}]}, "matchConditions[0].expression", "Required value"),
        ({"matchConditions": [{"name": "a b", "expression": "true"}]}, "matchConditions[0].name", 'Invalid value: "a b": '),
        ({"matchConditions": [{"name": "a", "expression": "true"}] * 2}, "matchConditions[1].name", 'Duplicate value: "a"'),
        ({"namespaceSelector": {"matchLabels": {"a b": "c"}}}, "namespaceSelector.matchLabels", 'Invalid value: "a b": '),
        ({"rules": [{**RULE, "apiGroups": ["*", "apps"]}]}, "rules[0].apiGroups", "if '*' is present, must not specify other API groups"),
        ({"rules": [{**RULE, "resources": ["*/*", "pods"]}]}, "rules[0].resources", "if '*/*' is present, must not specify other resources"),
        ({"rules": [{**RULE, "resources": ["pods/*", "pods/log"]}]}, "rules[0].resources[1]", "if 'pods/*' is present, must not specify pods/log"),
        ({"rules": [{**RULE, "resources": ["*/log", "pods/log"]}]}, "rules[0].resources[1]", "if '*/log' is present, must not specify pods/log"),
        ({"rules": [{**RULE, "operations": ["LOOK"]}]}, "rules[0].operations[0]", 'Unsupported value: "LOOK"'),
        ({"rules": [{**RULE, "scope": "World"}]}, "rules[0].scope", 'Unsupported value: "World"'),
    ],
)
def test_what_else_is_refused(changes, field, message):
    assert any(at == field and message in said for at, said in faults(**changes)), faults(**changes)
