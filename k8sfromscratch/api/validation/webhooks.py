"""Webhook configurations, and the client configuration that they share with others who name a server to call.

A URL is https alone, without user, query or fragment: what the apiserver will call with its own hands says no more than where.

Source: pkg/apis/admissionregistration/validation, apiserver/pkg/util/webhook/validation.go.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from k8sfromscratch.api import names
from k8sfromscratch.api.errors import Cause
from k8sfromscratch.api.validation.field import Object, checked, duplicates, indexed, invalid, one_of, optional_one_of, required, too_many
from k8sfromscratch.api.validation.selectors import label_selector

_URL_FORM = "desired format: https://host[:port]/path"
_REVIEW_VERSIONS = ("v1", "v1beta1")
_CONDITIONS_MAX = 64


def webhook_configuration(obj: Object) -> list[Cause]:
    causes: list[Cause] = []
    for at, webhook in indexed(obj, "webhooks", ""):
        causes += _webhook(webhook, at)
    return causes + duplicates((f"{at}.name", webhook.get("name", "")) for at, webhook in indexed(obj, "webhooks", ""))


def _webhook(webhook: Object, at: str) -> list[Cause]:
    name, timeout_s = webhook.get("name", ""), webhook.get("timeoutSeconds", 10)
    causes = _domain_name(name, f"{at}.name")
    for rule_at, one in indexed(webhook, "rules", at):
        causes += rule(one, rule_at)
    causes += optional_one_of(f"{at}.failurePolicy", webhook.get("failurePolicy"), ("Fail", "Ignore"))
    causes += optional_one_of(f"{at}.matchPolicy", webhook.get("matchPolicy"), ("Equivalent", "Exact"))
    causes += optional_one_of(f"{at}.reinvocationPolicy", webhook.get("reinvocationPolicy"), ("IfNeeded", "Never"))
    causes += one_of(f"{at}.sideEffects", webhook.get("sideEffects"), ("None", "NoneOnDryRun"))
    if not 1 <= timeout_s <= 30:
        causes.append(invalid(f"{at}.timeoutSeconds", timeout_s, "the timeout value must be between 1 and 30 seconds"))
    for key in ("namespaceSelector", "objectSelector"):
        causes += label_selector(webhook.get(key), f"{at}.{key}")
    causes += client_config(webhook.get("clientConfig") or {}, f"{at}.clientConfig")
    return causes + _review_versions(webhook.get("admissionReviewVersions") or (), f"{at}.admissionReviewVersions") + conditions(webhook, at)


def _domain_name(name: str, path: str) -> list[Cause]:
    if not name:
        return [required(path)]
    if causes := checked(path, name, names.dns_subdomain):
        return causes
    return [invalid(path, name, "should be a domain with at least three segments separated by dots")] if name.count(".") < 2 else []


def _review_versions(versions: Sequence[str], path: str) -> list[Cause]:
    if not versions:
        return [required(path, f"must specify one of {', '.join(_REVIEW_VERSIONS)}")]
    causes = duplicates((f"{path}[{index}]", version) for index, version in enumerate(versions))
    for index, version in enumerate(versions):
        causes += checked(f"{path}[{index}]", version, names.dns_1035_label)
    if not causes and not set(_REVIEW_VERSIONS) & set(versions):
        causes.append(invalid(path, list(versions), f"must include at least one of {', '.join(_REVIEW_VERSIONS)}"))
    return causes


def conditions(of: Object, at: str) -> list[Cause]:
    """Whether the expressions compile is told at admission."""
    causes: list[Cause] = []
    listed = list(indexed(of, "matchConditions", at))
    if len(listed) > _CONDITIONS_MAX:
        causes.append(too_many(f"{at}.matchConditions", len(listed), _CONDITIONS_MAX))
    for path, condition in listed:
        if not (condition.get("expression") or "").strip():
            causes.append(required(f"{path}.expression"))
        name = condition.get("name") or ""
        causes += checked(f"{path}.name", name, names.qualified_name) if name else [required(f"{path}.name")]
    return causes + duplicates((f"{path}.name", condition.get("name") or "") for path, condition in listed)


# -- rules


def rule(of: Object, at: str) -> list[Cause]:
    causes: list[Cause] = []
    for key, together in (("operations", "operations"), ("apiGroups", "groups"), ("apiVersions", "versions")):
        values = of.get(key) or []
        if not values:
            causes.append(required(f"{at}.{key}"))
        if len(values) > 1 and "*" in values:
            causes.append(invalid(f"{at}.{key}", values, f"if '*' is present, must not specify other {'API ' if key != 'operations' else ''}{together}"))
    causes += [required(f"{at}.apiVersions[{index}]") for index, version in enumerate(of.get("apiVersions") or ()) if not version]
    for index, operation in enumerate(of.get("operations") or ()):
        causes += optional_one_of(f"{at}.operations[{index}]", operation, ("*", "CONNECT", "CREATE", "DELETE", "UPDATE"))
    return causes + _resources(of.get("resources") or [], f"{at}.resources") + optional_one_of(f"{at}.scope", of.get("scope"), ("*", "Cluster", "Namespaced"))


def _resources(resources: Sequence[str], path: str) -> list[Cause]:
    """No rule may say the same thing twice: what a wildcard covers is not listed beside it."""
    if not resources:
        return [required(path)]
    causes: list[Cause] = []
    whole = {text.partition("/")[0] for text in resources if text.endswith("/*")}
    every = {text.partition("/")[2] for text in resources if text.startswith("*/")}
    for index, text in enumerate(resources):
        at = f"{path}[{index}]"
        plural, slash, sub = text.partition("/")
        if not text:
            causes.append(required(at))
        elif text != "*/*" and "*/*" in resources:
            causes.append(invalid(path, list(resources), "if '*/*' is present, must not specify other resources"))
            break
        elif slash and sub != "*" and plural in whole:
            causes.append(invalid(at, text, f"if '{plural}/*' is present, must not specify {text}"))
        elif slash and plural != "*" and sub in every:
            causes.append(invalid(at, text, f"if '*/{sub}' is present, must not specify {text}"))
        elif not slash and plural != "*" and "*" in resources:
            causes.append(invalid(path, list(resources), "if '*' is present, must not specify other resources without subresources"))
            break
    return causes


# -- who is called


def client_config(of: Mapping[str, Any], path: str) -> list[Cause]:
    if (of.get("url") is None) == (of.get("service") is None):
        return [required(path, "exactly one of url or service is required")]
    if of.get("url") is not None:
        return url(of["url"], f"{path}.url")
    return service(of["service"], f"{path}.service")


def url(text: str, path: str) -> list[Cause]:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        return [required(path, f"url must be a valid URL: {error}; {_URL_FORM}")]
    causes: list[Cause] = []
    if parts.scheme != "https":
        causes.append(invalid(path, parts.scheme, f"'https' is the only allowed URL scheme; {_URL_FORM}"))
    if not parts.hostname:
        causes.append(invalid(path, parts.netloc, f"host must be specified; {_URL_FORM}"))
    if "@" in parts.netloc:
        causes.append(invalid(path, parts.netloc.rpartition("@")[0], "user information is not permitted in the URL"))
    if parts.fragment:
        causes.append(invalid(path, parts.fragment, "fragments are not permitted in the URL"))
    if parts.query:
        causes.append(invalid(path, parts.query, "query parameters are not permitted in the URL"))
    return causes


def service(of: Mapping[str, Any], path: str) -> list[Cause]:
    causes = [required(f"{path}.{key}", f"service {key} is required") for key in ("name", "namespace") if not of.get(key)]
    port = of.get("port", 443)
    if not 1 <= port <= 65535:
        causes.append(invalid(f"{path}.port", port, "port is not valid: must be between 1 and 65535, inclusive"))
    return causes + _url_path(of.get("path") or "", f"{path}.path")


def _url_path(text: str, path: str) -> list[Cause]:
    if text in ("", "/"):
        return []
    if not text.startswith("/"):
        return [invalid(path, text, "must start with a '/'")]
    causes: list[Cause] = []
    for index, segment in enumerate(text[1:].removesuffix("/").split("/")):
        faults = names.dns_subdomain(segment) if segment else [""]
        causes += [invalid(path, text, f"segment[{index}]: {fault}" if fault else f"segment[{index}] may not be empty") for fault in faults]
    return causes
