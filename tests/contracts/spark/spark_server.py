"""A Kubernetes API server with the Spark operator behind it: a driver runs here as its pod would, on `local[2]`."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyspark

from components.contracts.spark import applications
from tests.loopback import Handler, on_loopback
from tests.manifests.schemas import Schemas

ROOT = Path(__file__).resolve().parents[3]
NAMESPACE = "runs"
PLACE = rf"/apis/sparkoperator\.k8s\.io/v1beta2/namespaces/{NAMESPACE}/sparkapplications(?:/([a-z0-9-]+))?"


@dataclass
class Operator:
    """What the server holds: applications by name with their drivers; `made` remembers all of them."""

    schemas: Schemas
    folder: Path
    stand_in: Sequence[str] = ()
    made: list[dict[str, Any]] = field(default_factory=list)
    running: dict[str, tuple[dict[str, Any], subprocess.Popen[bytes]]] = field(default_factory=dict)

    def answer(self, verb: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        found = re.fullmatch(PLACE, path)
        if found is None:
            return 403, {"message": f"{path} is forbidden"}
        if verb == "POST":
            return self._create(body)
        if found[1] not in self.running:
            return 404, {"message": f"{found[1]} not found"}
        if verb == "DELETE":
            self.running.pop(found[1])[1].kill()
            return 200, {"kind": "Status"}
        application, driver = self.running[found[1]]
        code = driver.poll()
        state = {"state": "RUNNING" if code is None else "FAILED" if code else "COMPLETED"}
        if code:
            state["errorMessage"] = f"driver container failed with ExitCode: {code}, Reason: Error"
        status = {"applicationState": state, "driverInfo": {"podName": f"{found[1]}-driver"}}
        return 200, application | {"status": status}

    def _create(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        name = body["metadata"]["name"]
        if name in self.running:
            return 409, {"message": f"{name} already exists"}
        if problems := self.schemas.problems(body | {"metadata": body["metadata"] | {"namespace": NAMESPACE}}):
            return 422, {"message": "; ".join(problems)}
        self.made.append(body)
        with (self.folder / f"{name}.log").open("wb") as log:
            driver = subprocess.Popen(
                self.stand_in or self._driver(body["spec"]), stdout=log, stderr=log, env=self._variables()
            )
        self.running[name] = body, driver
        return 201, body

    def _driver(self, spec: dict[str, Any]) -> list[str]:
        """The driver container's arguments, as Spark makes them, the image's paths being those of this machine."""
        properties = self.folder / "spark.properties"
        lines = spec["sparkConf"] | {"spark.master": "local[2]", "spark.driver.memory": spec["driver"]["memory"]}
        lines |= {"spark.driver.host": "127.0.0.1", "spark.logConf": "true"}
        properties.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
        file = spec["mainApplicationFile"].removeprefix("local://").replace(applications.PACKAGES, str(ROOT))
        command = ["bash", str(ROOT / "components/contracts/spark/entrypoint.sh"), "driver"]
        command += ["--properties-file", str(properties), "--class", "org.apache.spark.deploy.PythonRunner"]
        return [*command, file, *spec["arguments"]]

    def _variables(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "JAVA_HOME") if name in os.environ}
        home = str(Path(pyspark.__file__).parent)
        pod = {"SPARK_HOME": home, "SPARK_DRIVER_BIND_ADDRESS": "127.0.0.1", "PYSPARK_PYTHON": sys.executable}
        return kept | pod | {"PYTHONPATH": str(ROOT), "ARCHIPELAGO_CACHE": str(self.folder / "cache")}


@contextmanager
def serving(operator: Operator) -> Iterator[str]:
    """Run the server on loopback while the context lasts; yields its address."""

    class Answering(Handler):
        def do_GET(self) -> None:
            body = json.loads(self.content() or b"{}")
            self.answer(*operator.answer(self.command, self.path.partition("?")[0], body))

        do_POST = do_DELETE = do_GET

    try:
        with on_loopback(Answering) as url:
            yield url
    finally:
        for _, driver in operator.running.values():
            driver.kill()
