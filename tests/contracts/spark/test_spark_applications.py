"""Samples, features and their join by a SparkApplication: its driver's command, on a local Spark, makes DuckDB's."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from components.contracts.errors import BadInput
from components.contracts.spark.applications import SPARK as VERSION
from components.contracts.spark.applications import SparkFailed, application_spec
from components.contracts.tools import api_server
from components.contracts.tools.manifest import tree_digest
from components.contracts.training_set import TRAINING_SET, read_training_rows
from components.features.config import FeaturesConfig
from components.features.job import features_in_their_place, join_in_its_place
from components.samples.build import build_samples
from components.samples.config import SamplesConfig
from components.samples.job import samples_in_their_place
from tests.features.sample_rows import write_samples
from tests.features.toy_log import AS_OF as TOY_AS_OF
from tests.features.toy_log import write_toy_log
from tests.manifests.schemas import Schemas
from tests.samples.hand_log import AS_OF, DAYS
from tests.samples.test_against_plain_python import random_log
from tests.spark import needs_spark

WHERE = {"image": f"registry.example.com/archipelago-data-spark@sha256:{'a' * 64}", "folder": "pvc://shared/spark"}
SPARK: dict[str, Any] = {"engine": "spark", "memory": "1GB", "spark_application": WHERE}

pytestmark = needs_spark


@pytest.fixture
def start(crds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable]:
    """A cluster with a claim `shared`."""
    from tests.contracts.spark.spark_server import NAMESPACE, Operator, serving

    for module in ("locations", "spark.applications"):
        monkeypatch.setattr(f"components.contracts.{module}.CLAIMS", tmp_path / "claims")
    monkeypatch.setattr(api_server, "POLL_S", 0.05)
    (tmp_path / "claims" / "shared").mkdir(parents=True)
    with ExitStack() as servers:

        def begin(**settings: Any) -> Operator:
            operator = Operator(Schemas(crds), tmp_path, **settings)
            url = servers.enter_context(serving(operator))
            content = {
                "clusters": [{"name": "c", "cluster": {"server": url}}],
                "users": [{"name": "u", "user": {}}],
                "contexts": [{"name": "t", "context": {"cluster": "c", "user": "u", "namespace": NAMESPACE}}],
                "current-context": "t",
            }
            (tmp_path / "kubeconfig").write_text(yaml.safe_dump(content))
            monkeypatch.setattr(
                "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig")
            )
            return operator

        yield begin


def log_of(operator: Any) -> str:
    return next(operator.folder.glob("archipelago-*.log")).read_text()


@pytest.mark.slow
def test_samples_are_those_of_this_process(start: Callable, tmp_path: Path) -> None:
    operator = start()
    paths = random_log(3).write(tmp_path)
    build_samples(*paths, SamplesConfig(**DAYS), AS_OF, tmp_path / "here")
    try:
        samples_in_their_place(*paths, SamplesConfig(**DAYS, **SPARK), AS_OF, tmp_path / "there")
    except SparkFailed:
        pytest.fail(log_of(operator)[-3000:])
    here, there = (pq.read_table(tmp_path / name / "samples.parquet") for name in ("here", "there"))
    assert there.num_rows > 50 and there.equals(here)
    (made,) = operator.made
    assert made["spec"]["arguments"][0] == "components.samples.job"
    assert made["spec"]["driver"]["serviceAccount"] == "archipelago-spark"
    assert "spark.sql.shuffle.partitions=8" in log_of(operator), "the session is spark-submit's"
    assert "spark.local.dir" not in log_of(operator), "and no local one of its own"
    assert operator.running == {}, "it is removed when it is done"
    assert list((tmp_path / "claims" / "shared" / "spark" / "samples").iterdir()) == [], "and so is its folder"


@pytest.mark.slow
def test_features_are_those_of_this_process(start: Callable, tmp_path: Path) -> None:
    operator = start()
    log, scores = write_toy_log(tmp_path)
    for name, config in (("here", FeaturesConfig()), ("there", FeaturesConfig(**SPARK))):
        try:
            features_in_their_place(log, scores, config, TOY_AS_OF, tmp_path / name)
        except SparkFailed:
            pytest.fail(log_of(operator)[-3000:])
    tables = {path.name for path in (tmp_path / "here").glob("*.parquet")}
    assert tables == {path.name for path in (tmp_path / "there").glob("*.parquet")}
    for table in tables:
        here, there = (pq.read_table(tmp_path / name / table) for name in ("here", "there"))
        assert here.schema == there.schema and here.num_rows == there.num_rows > 0
    assert len(operator.made) == 1


@pytest.mark.slow
def test_joined_samples_are_those_of_this_process(start: Callable, tmp_path: Path) -> None:
    operator = start()
    log, scores = write_toy_log(tmp_path, requests=60)
    features, samples = tmp_path / "features", tmp_path / "samples"
    features_in_their_place(log, scores, FeaturesConfig(), TOY_AS_OF, features)
    write_samples(samples, log)
    for name, config in (("here", FeaturesConfig()), ("there", FeaturesConfig(**SPARK))):
        try:
            join_in_its_place(features, log, samples, config, tmp_path / name)
        except SparkFailed:
            pytest.fail(log_of(operator)[-3000:])
    here, there = (read_training_rows(tmp_path / name / TRAINING_SET) for name in ("here", "there"))
    columns = ["request_id", "item_id", "item_bucket", "clicked_items"]
    assert there.table(columns).equals(here.table(columns))
    (made,) = operator.made
    assert made["spec"]["arguments"][0] == "components.features.job"


def test_a_failed_application_is_one_error_and_leaves_no_samples(start: Callable, tmp_path: Path) -> None:
    operator = start(stand_in=["sh", "-c", "exit 7"])
    paths = random_log(3).write(tmp_path)
    for attempts in (1, 2):
        with pytest.raises(SparkFailed, match=r"SparkApplication runs/archipelago-samples-\w+ .*Code: 7.*-driver\)"):
            samples_in_their_place(*paths, SamplesConfig(**DAYS, **SPARK), AS_OF, tmp_path / "there")
        assert len(operator.made) == attempts
    assert not (tmp_path / "there").exists()
    assert len(operator.running) == 1, "the last one stays to be looked at"


def test_inputs_are_there_whole_and_the_same_again(start: Callable, tmp_path: Path) -> None:
    start(stand_in=["false"])
    paths = random_log(3).write(tmp_path)
    with pytest.raises(SparkFailed):
        samples_in_their_place(*paths, SamplesConfig(**DAYS, **SPARK), AS_OF, tmp_path / "there")
    (job,) = (tmp_path / "claims" / "shared" / "spark" / "samples").iterdir()
    for name, path in zip(("log", "scores", "encodings"), paths, strict=True):
        assert tree_digest(job / name) == tree_digest(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"engine": "duckdb"}, "it wants engine: spark"),
        ({"spark_application": WHERE | {"folder": "s3://b/x"}}, "share a claim"),
        ({"spark_application": WHERE | {"executors": 0}}, "executors"),
        ({"spark_application": {"folder": "pvc://c/x"}}, "image"),
    ],
)
def test_what_no_cluster_could_run_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        SamplesConfig.of_structure(SPARK | change)


def test_a_claim_that_is_not_mounted_is_named(tmp_path: Path) -> None:
    paths = random_log(3).write(tmp_path)
    with pytest.raises(BadInput, match="claim shared is not mounted"):
        samples_in_their_place(*paths, SamplesConfig(**DAYS, **SPARK), AS_OF, tmp_path / "there")


def test_pods_are_restricted_and_ask_for_what_was_said() -> None:
    config = SamplesConfig(**SPARK)
    assert config.spark_application
    spec = application_spec("module", Path("/mnt/claims/shared/spark/0"), config, config.spark_application)
    for part in ("driver", "executor"):
        assert (spec[part]["cores"], spec[part]["memory"]) == (2, "1g")
        assert (
            spec[part]["securityContext"]["runAsNonRoot"]
            and not spec[part]["securityContext"]["allowPrivilegeEscalation"]
        )
        assert spec[part]["volumeMounts"] == [{"name": "jobs", "mountPath": "/mnt/claims/shared"}]


def test_the_operator_is_told_the_version_that_the_image_holds() -> None:
    locks = Path(__file__).resolve().parents[3] / "components" / "locks"
    assert f"pyspark=={VERSION} " in (locks / "spark.txt").read_text(encoding="utf-8")
