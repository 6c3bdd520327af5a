"""One InferenceService in a cluster: read it, change it, look at its pods, ask the service which release answers."""

import ssl
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from components.contracts.errors import ArchipelagoError, BadInput
from components.contracts.tools.api_server import reason
from components.release.inference_service import CANARY, Json, State, read_state

_KIND = {"group": "serving.kserve.io", "version": "v1beta1", "plural": "inferenceservices"}
_IN_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_TIMEOUT_S = 15
_ATTEMPTS = 8


class ClusterError(ArchipelagoError):
    """The cluster can't be reached, can't answer now, or does not serve what it was told to."""


class Cluster:
    """An API server, and one InferenceService there."""

    def __init__(self, namespace: str, name: str, context: str | None = None, url: str | None = None) -> None:
        """Connect as a pod's account does inside a cluster, else by the kubeconfig.

        Args:
            namespace, name: of the InferenceService.
            context: of the kubeconfig; None is its current one.
            url: where the service answers, e.g. "http://localhost:8080". None: the Service's name inside a cluster;
                outside of one through the API server, which needs the right to get `services/proxy`.

        Raises:
            BadInput: no usable kubeconfig or context.
        """
        self.namespace, self.name, self._url = namespace, name, url
        self._inside = _IN_POD.is_file() and context is None
        settings = client.Configuration()
        try:
            if self._inside:
                config.load_incluster_config(settings)
            else:
                config.load_kube_config(context=context, client_configuration=settings)
        except config.ConfigException as error:
            raise BadInput(f"no access to a cluster: {error} (--context, or the variable KUBECONFIG)") from error
        settings.retries = 2
        self._api = client.ApiClient(settings)

    def state(self) -> State:
        """What the InferenceService says now; BadInput where it is absent or not for us to read."""
        return read_state(self.service())

    def service(self) -> Json:
        """The InferenceService."""
        objects = client.CustomObjectsApi(self._api)
        return self._call(
            "read",
            lambda: objects.get_namespaced_custom_object(
                namespace=self.namespace, name=self.name, _request_timeout=_TIMEOUT_S, **_KIND
            ),
        )

    def change(self, decide: Callable[[State], Json]) -> State:
        """Patch the InferenceService by what `decide` makes of its state, and only if that is still its state.

        A controller writes into the object, too: a conflict is answered by looking and deciding again.

        Raises:
            BadInput: the API server or an admission policy refused the change; the message is its own.
            ClusterError: no connection, or others change the object all the time.
        """
        objects = client.CustomObjectsApi(self._api)
        for _ in range(_ATTEMPTS):
            state = self.state()
            patch = decide(state)
            patch = patch | {"metadata": {**patch.get("metadata", {}), "resourceVersion": state.version}}
            try:
                changed = objects.patch_namespaced_custom_object(
                    namespace=self.namespace, name=self.name, body=patch, _request_timeout=_TIMEOUT_S, **_KIND
                )
            except ApiException as error:
                if error.status == HTTPStatus.CONFLICT:
                    continue
                raise self._explained("change", error) from error
            except HTTPError as error:
                raise self._unreachable(error) from error
            return read_state(changed)
        raise ClusterError(f"{self._what}: was changed by others {_ATTEMPTS} times while this command tried to")

    def deployment(self, canary: bool = False) -> Json | None:
        """The Deployment that KServe makes of the service, or of its canary; None before it is there."""
        path = f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{self.workload(canary)}"
        try:
            return self._get(path)
        except ApiException as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise self._explained("read the Deployment of", error) from error

    def pods(self, deployment: Mapping[str, Any]) -> list[Json] | None:
        """The Deployment's pods; None where the account may not list them, which is no reason to stop."""
        labels = deployment["spec"]["selector"]["matchLabels"]
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        try:
            found = self._get(f"/api/v1/namespaces/{self.namespace}/pods", {"labelSelector": selector})
        except ApiException:
            return None
        return list(found["items"])

    def answers(self, canary: bool = False) -> str | None:
        """Name of the release that answers, asked over a new connection; None where nothing answers."""
        try:
            if self._url:
                return _version(httpx.get(f"{self._url.rstrip('/')}/v2/models/relevance", timeout=_TIMEOUT_S).json())
            if self._inside:
                host = f"{self.workload(canary)}.{self.namespace}.svc.cluster.local"
                return _version(httpx.get(f"http://{host}/v2/models/relevance", timeout=_TIMEOUT_S).json())
            # The first of the Service's ports, by name of none: KServe makes it 80.
            service = f"/api/v1/namespaces/{self.namespace}/services/http:{self.workload(canary)}:80/proxy"
            return _version(self._get(f"{service}/v2/models/relevance"))
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return None
        except ApiException as error:
            if error.status == HTTPStatus.FORBIDDEN:
                raise BadInput(
                    f"{self._what}: may not be asked through the API server ({reason(error)}); "
                    f"name --url, e.g. of `kubectl port-forward`"
                ) from error
            return None

    def workload(self, canary: bool = False) -> str:
        """What KServe calls the Deployment and the Service."""
        return f"{self.name}-{CANARY}-predictor" if canary else f"{self.name}-predictor"

    @property
    def _what(self) -> str:
        return f"inferenceservice {self.namespace}/{self.name}"

    def _get(self, path: str, query: Mapping[str, str] | None = None) -> Json:
        return self._raw(lambda: self._api.call_api(
            path, "GET", query_params=list((query or {}).items()), response_type="object",
            header_params={"Accept": "application/json"}, auth_settings=["BearerToken"],
            _return_http_data_only=True, _request_timeout=_TIMEOUT_S,
        ))  # fmt: skip

    def _call(self, verb: str, ask: Callable[[], Any]) -> Json:
        try:
            return self._raw(ask)
        except ApiException as error:
            raise self._explained(verb, error) from error

    def _raw(self, ask: Callable[[], Any]) -> Json:
        try:
            return dict(ask())
        except (HTTPError, ssl.SSLError) as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> ClusterError:
        return ClusterError(f"{self._api.configuration.host}: the API server does not answer ({error})")

    def _explained(self, verb: str, error: ApiException) -> ArchipelagoError:
        """The API server's refusal as ours: what is asked of it wrongly is bad input, the rest is the cluster's."""
        told = f"{self._what}: the API server refused to {verb} it: {reason(error)}"
        if error.status == HTTPStatus.NOT_FOUND:
            return BadInput(f"{self._what}: not there (--namespace, --name, --context; or apply the manifests first)")
        if error.status == HTTPStatus.UNAUTHORIZED:
            return BadInput(f"{told} (log in to the cluster again)")
        if error.status in (HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN, HTTPStatus.UNPROCESSABLE_ENTITY):
            return BadInput(told)
        return ClusterError(told)


def _version(answer: Mapping[str, Any]) -> str:
    return str(answer["versions"][0])
