"""What the light install runs never imports PyTorch, which it does not have."""

import json
import pkgutil
import subprocess
import sys

import ranfer
from ranfer.data.drawn import write_ferplus
from test_runtime import EIGHT, classifier

HEAVY = {
    "attribute_net",
    "augment",
    "backbones",
    "candidate_net",
    "checkpoint",
    "cost",
    "crop",
    "experiment",
    "export",
    "losses",
    "model",
    "onnx_file",
    "optimizer",
    "run_state",
    "teachers",
    "train",
    "training_faces",
}


def torch_after(code, *arguments):
    """Run code in a fresh process; whether PyTorch and matplotlib are among its modules in the end."""
    ending = "\nimport json, sys; print(json.dumps([name in sys.modules for name in ('torch', 'matplotlib')]))"
    words = [sys.executable, "-c", code + ending, *map(str, arguments)]
    found = subprocess.run(words, capture_output=True, text=True, check=True)
    return json.loads(found.stdout.splitlines()[-1])


def test_no_light_room_imports_pytorch_or_matplotlib():
    rooms = [
        room.name
        for room in pkgutil.walk_packages(ranfer.__path__, "ranfer.")
        if room.name.split(".")[1] not in {*HEAVY, "__main__"}
    ]
    assert {"ranfer.cli", "ranfer.evaluate", "ranfer.report", "ranfer.runtime", "ranfer.data.dataset"} <= set(rooms)
    assert torch_after("\n".join(f"import {room}" for room in rooms)) == [False, False]


def test_evaluating_an_onnx_file_needs_no_pytorch(tmp_path):
    data = write_ferplus(tmp_path / "faces", {"valid": 24}).data
    file = classifier(tmp_path / "m.onnx", shape=("b", 1, 4, 4), softmax=True)
    words = ["--split", "valid", "--onnx", file, "--labels", ",".join(EIGHT), "--out", tmp_path / "out"]
    code = "from ranfer.cli import main\ntry:\n    main()\nexcept SystemExit as end:\n    assert not end.code"
    assert torch_after(code, "evaluate", "--data", f"ferplus:{data}", *words) == [False, True]
    assert (tmp_path / "out" / "report.json").exists()
