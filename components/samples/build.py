"""ES3, the entire-space sample system (UniScale, arXiv 2603.24226): from a log to training samples."""

from datetime import datetime
from pathlib import Path

from components.contracts.engine import open_engine
from components.contracts.schemas import SAMPLES
from components.contracts.tables import Limits, validate, write_tables
from components.contracts.tools.log import get_logger
from components.contracts.tools.manifest import input_digest, stage_directory, write_json, write_manifest
from components.samples.config import SamplesConfig
from components.samples.entire_space import make_samples
from components.samples.inputs import read_inputs
from components.samples.periods import Periods
from components.samples.report import write_samples_report
from components.samples.volumes import counted, coverage_line, measure

_logger = get_logger(__name__)


def build_samples(log: Path, scores: Path, encodings: Path, config: SamplesConfig, as_of: datetime, out: Path) -> None:
    """Write samples.parquet, volumes.json, reports/samples.html and the manifest into `out`, as a whole or not at all.

    In samples.parquet `exposed` = 1 marks what a search page showed, so exposed rows with `native_click` and
    `native_purchase` are the native set in every split; `click` and `purchase` are the entire-space labels, which
    differ from the native ones in training rows only.

    Raises:
        BadInput: an input breaks its contract, or the training window holds no search request.
    """
    with stage_directory(out) as root, open_engine(config) as engine:
        inputs = read_inputs(engine, log, scores, encodings, as_of)
        entire_space = make_samples(engine, inputs, config, Periods.before(as_of, config))
        volumes = measure(engine, entire_space, inputs, config)
        _logger.info("search requests dropped, their labels not complete: %s", counted(volumes["immature"]))
        _logger.info("coverage of unexposed positives: %s", coverage_line(volumes["coverage"]))
        in_order = entire_space.samples.order_by("timestamp", "request_id", "item_id")
        limits = Limits(markets=inputs.markets)
        parts = (validate(part, SAMPLES, "samples", limits) for part in engine.batches("in_order", in_order))
        write_tables(parts, root / "samples.parquet")
        write_json(root / "volumes.json", volumes)
        write_samples_report(root / "reports" / "samples.html", volumes, config)
        write_manifest(
            root,
            kind="samples",
            config=config.model_dump(),
            inputs={"log": input_digest(log), "scores": input_digest(scores), "encodings": input_digest(encodings)},
            metrics=volumes,
            packages=["ibis-framework", "duckdb", "pyspark"],
            as_of=as_of.isoformat(),
            simulated=inputs.simulated,
        )
