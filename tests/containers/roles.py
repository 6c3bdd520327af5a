"""The images that are built: one per role, on one base."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
ROLES = ("data", "train", "monitor", "serve")
BASE = "python:3.11-slim"
