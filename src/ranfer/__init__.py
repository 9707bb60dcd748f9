"""Region Attention Networks for pose- and occlusion-robust facial expression recognition.

>>> import ranfer
>>> recognizer = ranfer.load()
>>> for face in recognizer("photo.jpg"):
...     print(face.expression, "trusted" if face.trusted else face.reason)
happiness trusted
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ranfer.errors import CheckpointError, ConfigError, DataError, ImageError, RanferError
    from ranfer.recognize import Face, Recognizer, Region, load
    from ranfer.vocab import Box, Expression

    __version__: str

# ONNX Runtime otherwise gives the machine an id, and sends events to its makers. It reads this when it is imported, so
# that here is the last place that comes before it. Whoever wants the events sets the variable to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = [
    "Box",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "Expression",
    "Face",
    "ImageError",
    "RanferError",
    "Recognizer",
    "Region",
    "__version__",
    "load",
]

_HOMES = dict.fromkeys(("CheckpointError", "ConfigError", "DataError", "ImageError", "RanferError"), "errors")
_HOMES |= dict.fromkeys(("Face", "Recognizer", "Region", "load"), "recognize")
_HOMES |= dict.fromkeys(("Box", "Expression"), "vocab")


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    # On first use: importing what recognises costs every command some tenths of a second.
    if name == "__version__":
        return import_module("importlib.metadata").version("ranfer")
    if name not in _HOMES:
        raise AttributeError(f"module 'ranfer' has no attribute {name!r}")
    return getattr(import_module(f"ranfer.{_HOMES[name]}"), name)
