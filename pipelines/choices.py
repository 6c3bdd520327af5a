"""What a person chooses for a run, named once for the command line and the pipeline; imports nothing slow."""

from typing import Literal, get_args

# Where the log comes from.
Source = Literal["simulator", "log", "judgments"]
# Where steps run: in this environment, or in their images.
Runner = Literal["subprocess", "docker"]
# Images, one a role; a step runs in its role's.
RoleName = Literal["data", "train", "monitor", "serve"]
ROLES: tuple[RoleName, ...] = get_args(RoleName)
