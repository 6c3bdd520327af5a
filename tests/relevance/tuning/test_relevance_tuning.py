"""Tuning an expert: what may change, what must not, going on after a kill, and several processes."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from components.contracts.errors import BadInput
from components.contracts.tools.manifest import read_json, tree_digest
from components.contracts.training.config import TrainingConfig
from components.contracts.training.jobs import JOB_FILE, TrainingFailed, open_job
from components.contracts.training.processes import World
from components.relevance.config import MIXTURE, ExpertConfig
from components.relevance.encode import encode
from components.relevance.encoding.padded import TextEncoder, pad
from components.relevance.encoding.texts import normal_pairs
from components.relevance.experts.tiny import FAMILIES
from components.relevance.experts.weights import expert_spec, prepare_expert
from components.relevance.judgments.judged import judged_labels, load_judged, query_folds
from components.relevance.model.spec import ExpertSpec, TuningSpec, load_experts
from components.relevance.score import score_pairs
from components.relevance.scoring.reference import ReferenceScorer
from components.relevance.train import train
from components.relevance.tuning import job as tuning
from components.relevance.tuning.adapters import merged_trunk, new_tuned_expert
from components.relevance.tuning.folds import tune
from components.relevance.tuning.job import (
    CHECKPOINT,
    HISTORY_FILE,
    TUNED,
    TuningDiverged,
    tune_job,
    write_job,
)
from tests.relevance.relevance_world import judgments, tiny_config, write_judgments

TUNING = TuningSpec(
    rank=4,
    alpha=8,
    dropout=0.1,
    epochs=3,
    learning_rate=0.01,
    head_learning_rate=0.02,
    batch_rows=16,
    checkpoint_steps=4,
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARCHIPELAGO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def tiny(family: str) -> tuple[Path, ExpertSpec]:
    config = ExpertConfig(name=f"tiny-{family}", source=f"tiny:{family}", pooling="mean", template="{query}{item}")
    return prepare_expert(config), expert_spec(config)


def job(root: Path, tuning: TuningSpec = TUNING, rows: int = 160) -> Path:
    folder, spec = tiny("qwen3")
    texts = judgments(rows)["query"].tolist()
    label = np.array(["red" in text or "blue" in text for text in texts])
    pairs = [("ID", text, "") for text in texts]
    write_job(root, folder, spec, tuning, pairs, label, np.arange(rows) % 5 == 0)
    return root


def run_job(folder: Path) -> Path:
    """Folder of the expert that a job tunes."""
    tune_job(open_job(str(folder)))
    return folder / TUNED


@pytest.mark.parametrize("family", FAMILIES)
def test_fresh_adapters_change_nothing_and_alone_learn(cache: None, family: str) -> None:
    folder, spec = tiny(family)
    model = new_tuned_expert(folder, spec, TUNING).eval()
    ids, mask = pad([[5, 6, 7, 8], [9, 10]], spec.pad_id)
    plain = TextEncoder(folder, spec).expert(ids, mask)
    torch.testing.assert_close(model.expert(ids, mask), plain)
    assert len(model.blocks()) == spec.layer
    learning = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert learning == {n for n, _ in model.named_parameters() if "lora_" in n or n.startswith("head.")}
    adapted = sum("lora_A" in name for name in learning)
    assert adapted == spec.layer * (6 if family in ("bert", "xlm-roberta") else 7)
    torch.nn.init.normal_(model.head.weight)
    model(ids, mask).sum().backward()
    frozen = [weight for name, weight in model.named_parameters() if name not in learning]
    assert frozen and all(weight.grad is None for weight in frozen)


def test_merged_adapters_answer_as_the_tuned_expert(cache: None) -> None:
    folder, spec = tiny("gemma3")
    model = new_tuned_expert(folder, spec, TUNING).eval()
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    ids, mask = pad([[5, 6, 7, 8], [9, 10]], spec.pad_id)
    tuned = model.expert(ids, mask)
    assert not torch.allclose(tuned, TextEncoder(folder, spec).expert(ids, mask), atol=1e-3)
    merged = merged_trunk(model)
    hidden = merged(input_ids=ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(model.expert.pooling(hidden, mask, ids), tuned, atol=1e-5, rtol=1e-5)


def test_a_tuned_expert_is_an_expert_that_judges_better(cache: None, tmp_path: Path) -> None:
    folder, spec = tiny("qwen3")
    tuned = run_job(job(tmp_path / "job", rows=400))
    history = read_json(tuned / HISTORY_FILE)["history"]
    assert len(history["train"]) == len(history["valid"]) == TUNING.epochs
    assert min(history["valid"]) == history["valid"][history["best"]] < 0.4
    before, after = load_file(folder / "model.safetensors"), load_file(tuned / "model.safetensors")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert len(changed) == 7 * spec.layer and all("proj" in name for name in changed)
    assert (tuned / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()
    assert TextEncoder(tuned, spec).encode(["sepatu red"]).shape == (1, spec.dim)
    config = ExpertConfig(name="again", source=str(tuned))
    assert expert_spec(config).parameters == spec.parameters


def test_tuning_repeats_and_its_seed_matters(cache: None, tmp_path: Path) -> None:
    short = replace(TUNING, epochs=1)
    one, two = (run_job(job(tmp_path / name, tuning=short)) for name in ("one", "two"))
    other = run_job(job(tmp_path / "other", tuning=replace(short, seed=1)))
    files = [(path / "model.safetensors").read_bytes() for path in (one, two, other)]
    assert files[0] == files[1] != files[2]


RUN_SLOWLY = """
import sys, time
from components.contracts.training.jobs import open_job
from components.relevance.tuning import job as tuning
save = tuning._Tuning._save
def slowly(self):
    save(self)
    time.sleep(0.5)
tuning._Tuning._save = slowly
tuning.tune_job(open_job(sys.argv[1]))
"""


def test_a_killed_tuning_goes_on_to_the_same_expert(
    cache: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_job(job(tmp_path / "whole"))
    killed = job(tmp_path / "killed")
    child = subprocess.Popen([sys.executable, "-c", RUN_SLOWLY, killed])
    deadline = time.monotonic() + 120
    while not (killed / CHECKPOINT).is_file():
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.8)  # past the first epoch's end, in the middle of the second
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert not (killed / TUNED).exists()
    steps: list[int] = []
    rates = tuning._Tuning._set_learning_rates
    monkeypatch.setattr(tuning._Tuning, "_set_learning_rates", lambda self: (steps.append(self.step), rates(self))[1])
    assert tree_digest(run_job(killed)) == tree_digest(whole)
    assert 0 < len(steps) < TUNING.epochs * (128 // TUNING.batch_rows), "it did not begin anew"


def test_another_jobs_checkpoint_is_not_taken_up(cache: None, tmp_path: Path) -> None:
    first = job(tmp_path / "job", tuning=replace(TUNING, epochs=1))
    stranger = run_job(first)
    expected = run_job(job(tmp_path / "fresh", tuning=replace(TUNING, epochs=1, seed=7)))
    stranger.rename(tmp_path / "aside")
    again = run_job(job(tmp_path / "job", tuning=replace(TUNING, epochs=1, seed=7)))
    assert (again / "model.safetensors").read_bytes() == (expected / "model.safetensors").read_bytes()


def torchrun(folder: Path, processes: int) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "-m", "components.relevance.tuning.job", str(folder)],
        env=environment,
        cwd=Path(__file__).resolve().parents[3],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["ddp", "fsdp"])
def test_two_processes_tune_the_same_expert_as_one(cache: None, tmp_path: Path, sharding: str) -> None:
    """Without dropout a step's gradient is the same mean, however its rows are dealt to processes.

    The two take up what one began, and one takes up what they left.
    """
    spec = replace(TUNING, dropout=0.0, epochs=3, sharding=sharding)
    alone = run_job(job(tmp_path / "alone", tuning=spec))
    begun = tuning._Tuning(open_job(str(job(tmp_path / "two", tuning=spec))), World(0, 1, torch.device("cpu")))
    begun._train_epoch(0)
    begun._close_epoch(0)
    torchrun(tmp_path / "two", 2)
    one, two = (load_file(path / "model.safetensors") for path in (alone, tmp_path / "two" / TUNED))
    for name, values in one.items():
        torch.testing.assert_close(values, two[name], atol=2e-4, rtol=1e-3)
    first, second = (read_json(path / HISTORY_FILE)["history"]["valid"] for path in (alone, tmp_path / "two" / TUNED))
    assert first == pytest.approx(second, abs=1e-4)
    (tmp_path / "two" / TUNED).rename(tmp_path / "by-two")
    assert tree_digest(run_job(tmp_path / "two")) == tree_digest(tmp_path / "by-two")


def tuned_expert(tuning: TuningSpec, processes: int) -> Path:
    """Folder of the expert that `tune` makes of all judged pairs."""
    expert = ExpertConfig(name="tuned", source="tiny:qwen3", tuning=tuning)
    config = tiny_config(experts=(expert,), variants=(MIXTURE,), top_k=1)
    frame = judgments(160).assign(label=lambda frame: frame["grade"])
    pairs = normal_pairs(frame["market"], frame["query"], frame["title"])
    folder, _ = tune(expert, frame, pairs, config, None, TrainingConfig(processes=processes))
    return folder


@pytest.mark.slow
def test_experts_are_tuned_by_as_many_processes_as_configured(
    cache: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, commands, run = replace(TUNING, dropout=0.0), [], subprocess.run

    def watched(command: list[str], **settings: Any) -> subprocess.CompletedProcess[bytes]:
        commands.append(command)
        return run(command, **settings)

    alone = tuned_expert(spec, 1)
    monkeypatch.setenv("ARCHIPELAGO_CACHE", str(tmp_path / "cache"))  # else the job is found done
    monkeypatch.setattr(subprocess, "run", watched)
    shared = tuned_expert(spec, 2)
    assert [command[1:5] for command in commands] == [
        ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    ]
    one, two = (load_file(folder / "model.safetensors") for folder in (alone, shared))
    assert one.keys() == two.keys()
    for name, values in one.items():
        torch.testing.assert_close(values, two[name], atol=2e-4, rtol=1e-3)
    before = load_file(prepare_expert(ExpertConfig(name="x", source="tiny:qwen3")) / "model.safetensors")
    assert max((before[name] - values).abs().max() for name, values in one.items()) > 0.01, "both were tuned"


@pytest.mark.slow
def test_processes_that_fail_leave_no_expert(cache: None, capfd: pytest.CaptureFixture[str]) -> None:
    diverging = replace(TUNING, learning_rate=1e30, head_learning_rate=1e30)
    with pytest.raises(TrainingFailed, match=r"tuning.job with 2 processes ended with code 1 \(job: ") as failure:
        tuned_expert(diverging, 2)
    assert "TuningDiverged" in capfd.readouterr().err, "the processes' own message is shown"
    job = Path(str(failure.value).partition("(job: ")[2].rstrip(")"))
    assert (job / JOB_FILE).is_file() and not (job / TUNED).exists()


def test_a_failed_tunings_exit_code_is_told(cache: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = tmp_path / "python"
    failing.write_text("#!/bin/sh\nexit 7\n")
    failing.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(failing))
    with pytest.raises(TrainingFailed, match="with 2 processes ended with code 7"):
        tuned_expert(replace(TUNING, seed=7), 2)


def test_a_job_without_enough_rows_is_refused(cache: None, tmp_path: Path) -> None:
    folder, spec = tiny("bert")
    with pytest.raises(BadInput, match="6 pairs to tune on are fewer than the 16 of a step"):
        write_job(tmp_path / "job", folder, spec, TUNING, [("ID", "a", "b")] * 8, np.ones(8), np.arange(8) < 2)
    with pytest.raises(BadInput, match="no validation pairs"):
        write_job(
            tmp_path / "job", folder, spec, TUNING, [("ID", "a", "b")] * 20, np.ones(20), np.zeros(20, dtype=bool)
        )
    assert not (tmp_path / "job").exists()


def test_a_tuning_that_diverges_says_so(cache: None, tmp_path: Path) -> None:
    with pytest.raises(TuningDiverged, match=r"validation loss is (nan|inf); lower tuning\.learning_rate"):
        run_job(job(tmp_path / "job", tuning=replace(TUNING, learning_rate=1e30, head_learning_rate=1e30)))
    assert not (tmp_path / "job" / TUNED).exists()


@pytest.mark.parametrize("change", [{"rank": 0}, {"epochs": 0}, {"dropout": 1.0}, {"learning_rate": -1.0}])
def test_numbers_that_make_no_sense_are_refused(change: dict) -> None:
    (name,) = change
    with pytest.raises(ValueError, match=f"{name} is"):
        TuningSpec(**change)
    with pytest.raises(ValueError, match=f"{name} is"):
        ExpertConfig(name="x", source="tiny:bert", tuning=change)


def test_a_tuned_expert_is_evaluated_out_of_fold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From log to model: vectors of a fold come from an expert that never saw its queries, the released one saw all."""
    monkeypatch.setenv("ARCHIPELAGO_CACHE", str(tmp_path / "cache"))
    tuned = ExpertConfig(name="tuned", source="tiny:qwen3", tuning=replace(TUNING, epochs=1))
    frozen = ExpertConfig(name="frozen", source="tiny:bert")
    dense = tuned.model_copy(update={"name": "dense", "source": "tiny:qwen2"})
    wide = {"experts": (tuned, frozen), "dense": dense, "epochs": 1}
    config = tiny_config(**wide)
    log = write_judgments(tmp_path / "log", judgments())
    encode(log, config, tmp_path / "encodings", tmp_path / "experts")
    jobs = tmp_path / "cache" / "tuning"
    assert len(list(jobs.iterdir())) == 2 * config.folds + 1, "the dense baseline is not handed on: none saw all"

    specs = load_experts(tmp_path / "experts")
    assert specs[0].source == "tiny:qwen3, tuned on the judgments" and specs[1].source == "tiny:bert"
    data = load_judged(log, tmp_path / "encodings", specs, config)
    inside = [data.of_fold(fold).vectors for fold in range(config.folds)]
    assert not torch.equal(inside[0][0], inside[1][0]) and not torch.equal(inside[0][0], data.vectors[0])
    assert torch.equal(inside[0][1], data.vectors[1]), "a frozen expert is the same in every fold"
    assert data.dense is None and not torch.equal(data.of_fold(0).dense, data.of_fold(1).dense)

    turned, labels = judgments(), judged_labels(log, config)
    of_fold_0 = set(labels["item_id"][query_folds(labels["query"], config.folds, config.seed) == 0])
    rows = turned["item_id"].isin(of_fold_0)
    turned.loc[rows, "grade"] = 1 - turned.loc[rows, "grade"]
    other = write_judgments(tmp_path / "turned", turned)
    encode(other, config, tmp_path / "other", tmp_path / "other-experts")
    again = load_judged(other, tmp_path / "other", load_experts(tmp_path / "other-experts"), config)
    torch.testing.assert_close(again.of_fold(0).vectors[0], inside[0][0])
    assert not torch.allclose(again.of_fold(1).vectors[0], inside[1][0])
    assert len(list(jobs.iterdir())) == 2 * (2 * config.folds + 1) - 2, (
        "what was tuned outside fold 0 is taken up again"
    )

    with pytest.raises(BadInput, match="experts were tuned with seed 0, not 1: encode anew"):
        train(log, tmp_path / "encodings", tmp_path / "experts", tiny_config(**wide | {"seed": 1}), tmp_path / "model")
    train(log, tmp_path / "encodings", tmp_path / "experts", config, tmp_path / "model")
    score_pairs(tmp_path / "encodings", tmp_path / "model", tmp_path / "scores")
    scorer = ReferenceScorer.load(tmp_path / "model", tmp_path / "experts")
    stored = pd.read_parquet(tmp_path / "scores" / "scores.parquet")
    titles = pd.read_parquet(tmp_path / "encodings" / "pairs.parquet")["title"]
    found, _ = scorer.score(stored["market"].tolist(), stored["query"].tolist(), titles.tolist())
    np.testing.assert_allclose(found, stored["relevance"], atol=1e-5)
