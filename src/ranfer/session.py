"""ONNX files as sessions of the runtime: on the best provider that starts, with one clear error where nothing loads."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import onnxruntime as ort

from ranfer.errors import CheckpointError

log = logging.getLogger(__name__)

METADATA_KEY = "ranfer"  # a file of ours has this key in its metadata: a JSON object that describes the model
CPU = "CPUExecutionProvider"
GPU_PROVIDERS = ("CUDAExecutionProvider", "ROCMExecutionProvider", "DmlExecutionProvider")


def providers() -> list[str]:
    """What the installed ONNX Runtime can compute on, best first; the CPU is always among them."""
    available = ort.get_available_providers()
    return [name for name in GPU_PROVIDERS if name in available] + [CPU]


def session_options(threads: int | None, of_any_shape: bool = False) -> ort.SessionOptions:
    """Threads: None leaves their number to the runtime; ``of_any_shape`` where input shapes change at every call."""
    options = ort.SessionOptions()
    options.log_severity_level = 3  # errors; warnings about a graph help nobody who did not write it
    if threads is not None:
        options.intra_op_num_threads = threads
    if of_any_shape:
        # What the runtime keeps from one call to the next costs memory and saves no time.
        options.enable_cpu_mem_arena = options.enable_mem_pattern = False
        # A thread that waits in a loop for work would hold a core while OpenCV and the other networks want it.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def open_session(
    path: Path, threads: int | None = None, of_any_shape: bool = False, on_cpu: bool = False
) -> ort.InferenceSession:
    """An ONNX file, ready to run; ``threads`` None leaves their number to the runtime.

    It runs on a GPU where the installed runtime has a provider for one. A provider that does not start (no driver, no
    CUDA) is one warning, and the file runs on what is left: the CPU at the least. A file whose inputs are
    ``of_any_shape`` runs on the CPU, since a GPU provider would plan anew at every call; ``on_cpu``, any file does.

    Raises:
        CheckpointError: the file is missing, or is no ONNX that the runtime can load.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: {'expected a file, got a folder' if path.is_dir() else 'no such file'}")
    options = session_options(threads, of_any_shape)
    wanted = [CPU] if of_any_shape or on_cpu else providers()
    reason = "the runtime cannot load it"  # it leaves such a provider out without an exception
    try:
        try:
            session = _start(path, options, wanted)
        except Exception as error:  # the runtime's exceptions have no common type of their own
            reason = " ".join(str(error).split())
            session = _start(path, options, [CPU])
    except Exception as error:
        raise CheckpointError(f"{path}: not a loadable ONNX file ({' '.join(str(error).split())})") from error
    started = session.get_providers()
    if missing := [name for name in wanted if name not in started]:
        log.warning("%s: runs on %s, since %s did not start (%s)", path, started[0], ", ".join(missing), reason)
    return session


def _start(path: Path, options: ort.SessionOptions, on: list[str]) -> ort.InferenceSession:
    return ort.InferenceSession(path, options, providers=on, enable_fallback=0)  # its own would print to stdout


def metadata(session: ort.InferenceSession) -> dict[str, Any] | None:
    """The description that a file of ours carries; None for any other file."""
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    return None if text is None else dict(json.loads(text))
