"""Schemas of kinds whose CRDs are not at hand, written from their documented types; as strict as those of CRDs."""

from typing import Any


def _object(required: list[str] | None = None, **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required or [],
        "additionalProperties": False,
    }


def _kind(spec: dict[str, Any]) -> dict[str, Any]:
    text = {"type": "string"}
    return _object(["apiVersion", "kind", "metadata", "spec"], apiVersion=text, kind=text, metadata={}, spec=spec)


_TEXT = {"type": "string", "minLength": 1}
_TEXTS = {"type": "array", "items": _TEXT, "minItems": 1}
_SELECTOR = _object(["matchLabels"], matchLabels={"type": "object", "additionalProperties": {"type": "string"}})
_URI_FORMAT = _object(prefix=_TEXT, regex=_TEXT) | {"minProperties": 1, "maxProperties": 1}
# Fields of the sources and operations that a policy names; Istio knows more.
_SOURCE = _object(["source"], source=_object(principals=_TEXTS, namespaces=_TEXTS))
_OPERATION = _object(["operation"], operation=_object(ports=_TEXTS, paths=_TEXTS, methods=_TEXTS))

# By group, version and kind. A container is held against Kubernetes' own schema beside this (`containers_of`).
SCHEMAS: dict[tuple[str, str, str], dict[str, Any]] = {
    ("serving.kserve.io", "v1alpha1", "ClusterStorageContainer"): _kind(
        _object(
            ["container", "supportedUriFormats"],
            container={"type": "object", "properties": {"name": {"const": "storage-initializer"}}},
            supportedUriFormats={"type": "array", "items": _URI_FORMAT, "minItems": 1},
            workloadType={"enum": ["initContainer", "localModelDownloadJob"]},
            supportsMultiModelDownload={"type": "boolean"},
        )
    ),
    ("kueue.x-k8s.io", "v1beta2", "ResourceFlavor"): _object(
        ["apiVersion", "kind", "metadata"],
        apiVersion=_TEXT,
        kind=_TEXT,
        metadata={},
        spec=_object(nodeLabels={"type": "object"}, nodeTaints={"type": "array"}, tolerations={"type": "array"}),
    ),
    ("security.istio.io", "v1", "PeerAuthentication"): _kind(
        _object(
            ["mtls"],
            selector=_SELECTOR,
            mtls=_object(["mode"], mode={"enum": ["UNSET", "DISABLE", "PERMISSIVE", "STRICT"]}),
        )
    ),
    ("security.istio.io", "v1", "AuthorizationPolicy"): _kind(
        _object(
            ["action", "rules"],
            selector=_SELECTOR,
            action={"enum": ["ALLOW", "DENY", "AUDIT"]},
            rules={
                "type": "array",
                "minItems": 1,
                "items": _object(
                    ["from", "to"],
                    **{"from": {"type": "array", "items": _SOURCE}, "to": {"type": "array", "items": _OPERATION}},
                ),
            },
        )
    ),
}


def containers_of(manifest: Any) -> list[Any]:
    """Containers in a manifest of such a kind."""
    return [manifest["spec"]["container"]] if manifest["kind"] == "ClusterStorageContainer" else []
