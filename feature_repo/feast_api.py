"""What is used of Feast, imported without PyTorch.

Feast loads PyTorch where it is installed, for tensors that nothing here asks of it: 180 MB and .8 s a process
(`python -X importtime -c "import feast"`). Whoever wants PyTorch itself imports it after or before as ever.
"""

import importlib
import sys
from typing import Any, cast

_loaded = cast("dict[str, Any]", sys.modules)
if "torch" not in _loaded:
    _loaded["torch"] = None  # makes an import of it fail, which Feast expects where there is none
    try:
        importlib.import_module("feast.torch_wrapper")
    finally:
        del _loaded["torch"]

from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, PushSource, RepoConfig  # noqa: E402
from feast.types import Array, FeastType, Float32, Int64, String  # noqa: E402
from feast.value_type import ValueType  # noqa: E402

__all__ = [
    "Array",
    "Entity",
    "FeastType",
    "FeatureService",
    "FeatureStore",
    "FeatureView",
    "Field",
    "FileSource",
    "Float32",
    "Int64",
    "PushSource",
    "RepoConfig",
    "String",
    "ValueType",
]
