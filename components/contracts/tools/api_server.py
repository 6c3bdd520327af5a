"""What a Kubernetes API server says of a request that it refuses."""

import json

from kubernetes.client.exceptions import ApiException


def reason(error: ApiException) -> str:
    """The message of a Kubernetes Status, in one line."""
    try:
        return " ".join(str(json.loads(error.body)["message"]).split())
    except (TypeError, ValueError, KeyError):
        return f"{error.status} {error.reason}"
