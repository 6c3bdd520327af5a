"""The world that benches of large logs share: `entire-space`, larger, with stand-ins for what models would give."""

from pathlib import Path

from components.marketplace.simulator.simulate import simulate
from pipelines.profile import Profile, load_profile
from tests.samples.stand_in_scores import write_stand_ins


def world_profile() -> Profile:
    """What the stages of these benches are told."""
    return load_profile("entire-space")


def write_world(root: Path, scale: float) -> None:
    """Write log, scores and encodings with `scale` times the world's users and requests."""
    profile = world_profile()
    simulate(profile.marketplace.scaled(scale), profile.simulated_as_of, root / "log")
    write_stand_ins(root / "log", root)
