"""Where data may lie that steps on a cluster read."""

from pathlib import Path

# A step's volume claims are mounted below this folder, each under its name.
CLAIMS = Path("/mnt/claims")
