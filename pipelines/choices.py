"""What a person chooses for a run, named once for the command line and the pipeline; imports nothing slow."""

from typing import Literal

# Where the log comes from.
Source = Literal["simulator", "log", "judgments"]
# Where steps run: in this environment, or in their images.
Runner = Literal["subprocess", "docker"]
