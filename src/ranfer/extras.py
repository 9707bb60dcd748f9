"""The extras of the package, and one line that says which of them a light install lacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec

from ranfer.errors import ConfigError

MODULES: Mapping[str, Sequence[str]] = {  # that each extra brings
    "annotate": ("fastapi", "krippendorff", "matplotlib", "sqlalchemy", "statsmodels", "uvicorn"),
    "evaluate": ("matplotlib",),
    "parquet": ("pyarrow",),
    "train": ("torch", "safetensors", "lightning_fabric", "tensorboard", "onnxscript"),
}


def need_extra(what: str, extra: str) -> None:
    """Refuse now, and not after an hour of computing, what an extra is needed for.

    Raises:
        ConfigError: one of its modules is not installed.
    """
    if missing := [name for name in MODULES[extra] if find_spec(name) is None]:
        raise ConfigError(f"{what}: needs {missing[0]}, which pip install 'ranfer[{extra}]' brings")
