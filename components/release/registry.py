"""Where releases are registered: a folder of them, or Kubeflow's Model Registry, behind one small interface.

A release is registered once, under its twelve digits, with where it lies, which run made it, and the digests of the
data and models it was made of: from the service's annotation back to the log.
"""

import json
import logging
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from components.contracts.errors import ArchipelagoError, BadInput
from components.contracts.releases import NAME_DIGITS, read_release
from components.contracts.tools.manifest import atomic_directory, facts

_FORMAT = ("triton", "2")


class RegistryError(ArchipelagoError):
    """The registry can't be reached, or failed itself."""


@dataclass(frozen=True)
class Registered:
    """A release that is registered: its name, where it lies, and the run that made it, where that is known."""

    name: str
    uri: str
    run: str | None


class Registry(Protocol):
    """A place that knows releases."""

    def register(self, release: Path, uri: str | None, run: str | None) -> bool:
        """Register a release; False where it was registered before, which changes nothing.

        Args:
            release: its folder.
            uri: where whoever serves it finds it.
            run: id of the pipeline run that made it.
        """

    def releases(self) -> list[Registered]:
        """All that are registered, by name."""


def open_registry(address: str) -> Registry:
    """The Model Registry at an http(s) address, else the folder of that path."""
    return ModelRegistry(address) if address.startswith(("http://", "https://")) else FolderRegistry(Path(address))


class FolderRegistry:
    """A folder of releases, each in a folder of its name; the default everywhere but on a cluster."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def register(self, release: Path, uri: str | None, run: str | None) -> bool:  # noqa: ARG002  see below
        """Link the release into the folder; its own manifest says what it is made of, so `run` is not noted."""
        if uri is not None:
            raise BadInput(f"{self._root}: a folder holds its releases itself, so none lies at {uri}")
        name = str(read_release(release)["digest"])[:NAME_DIGITS]
        target = self._root / name
        if target.is_dir():
            return False
        with atomic_directory(target) as staging:
            shutil.copytree(release, staging, dirs_exist_ok=True, copy_function=_link)
        return True

    def releases(self) -> list[Registered]:
        """What lies in the folder."""
        found = sorted(self._root.glob("*/manifest.json"))
        return [Registered(path.parent.name, str(path.parent), None) for path in found]


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


class ModelRegistry:
    """Kubeflow's Model Registry, through its own client; a pod's token goes with each call where there is one."""

    def __init__(self, address: str) -> None:
        from model_registry import ModelRegistry as Client
        from model_registry.exceptions import StoreError
        from mr_openapi.exceptions import ConflictException

        self._address = address
        # What the client raises where another one was faster: found before the call, and found by the server.
        self._there, self._taken = StoreError, ConflictException
        with self._asking():
            self._client = Client(address, author="archipelago", log_level=logging.ERROR)

    def register(self, release: Path, uri: str | None, run: str | None) -> bool:
        """Register a version of a model: there is one for each kind of release."""
        if uri is None:
            raise BadInput(f"{self._address}: holds no files, so say where the release lies (--uri)")
        manifest = read_release(release)
        name, model = str(manifest["digest"])[:NAME_DIGITS], str(manifest["kind"])
        with self._asking():
            version = self._version(model, name)
            if version is None:
                try:
                    self._client.register_model(
                        model,
                        uri,
                        version=name,
                        model_format_name=_FORMAT[0],
                        model_format_version=_FORMAT[1],
                        description="Releases of Archipelago: everything that is served, in a folder",
                        metadata=_metadata(release, manifest, run),
                    )
                    return True
                except (self._taken, self._there):  # somebody registers it at this moment
                    version = self._version(model, name)
            if version is None or self._client.get_model_artifact(model, name):
                return False
            # A registration that was cut off left the version without its place; its client has no word for adding one.
            place = self._client._register_model_artifact(
                version, model, uri, model_format_name=_FORMAT[0], model_format_version=_FORMAT[1]
            )
            self._client.async_runner(place)
        return True

    def _version(self, model: str, name: str) -> Any:
        return self._client.get_model_version(model, name) if self._client.get_registered_model(model) else None

    def releases(self) -> list[Registered]:
        """Every version with a place, of all kinds of releases."""
        found = []
        with self._asking():
            for model in self._client.get_registered_models():
                for version in self._client.get_model_versions(model.name):
                    artifact = self._client.get_model_artifact(model.name, version.name)
                    run = (version.custom_properties or {}).get("run")
                    if artifact is not None:
                        found.append(Registered(version.name, str(artifact.uri), str(run) if run else None))
        return sorted(found, key=lambda each: each.name)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        from aiohttp import ClientError
        from model_registry.exceptions import StoreError
        from mr_openapi.exceptions import ApiException

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # "User access token is missing": not every server asks
                yield
        except ApiException as error:
            told = f"{self._address}: {error.status} {_message(error.body) or error.reason}"
            known = error.status is not None and 400 <= error.status < 500
            raise (BadInput(told) if known else RegistryError(told)) from error
        except StoreError as error:
            raise BadInput(f"{self._address}: {error}") from error
        except (ClientError, OSError) as error:
            raise RegistryError(f"{self._address}: nobody answers ({error})") from error


def _message(body: Any) -> str:
    try:
        return str(json.loads(body)["message"])
    except (TypeError, ValueError, KeyError):
        return ""


def _metadata(release: Path, manifest: dict[str, Any], run: str | None) -> dict[str, str | int | float | bool]:
    """What is known of a release, as values that the registry shows; what is nested is JSON."""
    known = facts(release) | manifest.get("figures", {}) | ({"run": run} if run else {})
    plain = (str, int, float, bool)
    return {name: value if isinstance(value, plain) else json.dumps(value) for name, value in known.items()}
