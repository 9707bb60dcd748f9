"""ONNX files of ours and of anybody, made here by hand."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from ranfer.errors import CheckpointError, ConfigError, DataError
from ranfer.runtime import OnnxClassifier, OnnxModel, open_onnx
from ranfer.session import open_session, providers
from ranfer.vocab import Expression

EIGHT = [expression.value for expression in Expression]


def save(path, nodes, inputs, outputs, initializers=(), metadata=None):
    graph = helper.make_graph(nodes, "test", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, metadata or {})
    onnx.save(model, path)
    return path


def classifier(path, shape=("b", 1, 4, 4), outputs=8, kind=TensorProto.FLOAT, softmax=False, weights=None):
    """Pixels, flattened, times ``weights`` (by default the first pixels themselves) are the outputs."""
    pixels = int(np.prod([side for side in shape[1:] if isinstance(side, int)]))
    matrix = np.eye(pixels, outputs, dtype=np.float32) if weights is None else weights.astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["f"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["logits" if softmax else "y"]),
    ]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["logits"], ["y"]))
    return save(
        path,
        nodes,
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [shape[0], outputs])],
        [numpy_helper.from_array(matrix, "w")],
    )


def ours(path, inputs=("faces",), labels=EIGHT, **about):
    """A file in the form of our exports that says the same of every face."""
    names = {"probabilities": np.full((1, 8), 0.125), "weight": np.full((1, 2), 0.5)}
    nodes = [
        helper.make_node("Shape", ["faces"], ["shape"]),
        helper.make_node("Slice", ["shape", "zero", "one"], ["b"]),
        helper.make_node("Concat", ["b", "one"], ["repeats"], axis=0),
        *(helper.make_node("Tile", [f"{name}_", "repeats"], [name]) for name in names),
    ]
    constants = [numpy_helper.from_array(value.astype(np.float32), f"{name}_") for name, value in names.items()]
    constants += [numpy_helper.from_array(np.array([v], dtype=np.int64), n) for n, v in (("zero", 0), ("one", 1))]
    return save(
        path,
        nodes,
        [helper.make_tensor_value_info(name, TensorProto.UINT8, ["b", "h", "w", 3]) for name in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", v.shape[1]]) for name, v in names.items()],
        constants,
        {"ranfer": json.dumps({"labels": labels, "revision": "abc", **about})},
    )


def grey(*values, size=4):
    """Faces of one grey each."""
    return np.stack([np.full((size, size, 3), value, dtype=np.uint8) for value in values])


def raw_pixels(path, faces, preprocess, shape):
    """What the classifier is fed, read back through logits that are the pixels themselves."""
    file = classifier(path, shape, outputs=int(np.prod(shape[1:])))
    model = OnnxClassifier(file, [EIGHT[0], *"-" * (int(np.prod(shape[1:])) - 1)], preprocess + ",output=logits")
    return model._pixels(faces)


def test_the_cpu_is_always_a_provider():
    assert providers()[-1] == "CPUExecutionProvider"


def test_gpu_providers_of_the_installed_runtime_come_first_best_first_and_others_are_left_out(tmp_path, monkeypatch):
    installed = ["TensorrtExecutionProvider", "CPUExecutionProvider", "DmlExecutionProvider", "CUDAExecutionProvider"]
    started, wanted = ort.InferenceSession, []

    def start(path, options, providers, **rest):
        wanted.append(providers)
        return started(path, options, providers=["CPUExecutionProvider"], **rest)

    monkeypatch.setattr(ort, "get_available_providers", lambda: installed)
    monkeypatch.setattr(ort, "InferenceSession", start)
    open_session(classifier(tmp_path / "m.onnx"))
    assert wanted == [["CUDAExecutionProvider", "DmlExecutionProvider", "CPUExecutionProvider"]]


@pytest.mark.parametrize("dropped", ["by an exception", "in silence"])
def test_a_gpu_that_does_not_start_is_one_line_and_the_cpu_takes_over(tmp_path, monkeypatch, caplog, capfd, dropped):
    file = classifier(tmp_path / "m.onnx")
    started = ort.InferenceSession

    def start(path, options, providers, **rest):
        if "CUDAExecutionProvider" in providers and dropped == "by an exception":
            raise RuntimeError("CUDA failure 35:\n driver too old")
        return started(path, options, providers=["CPUExecutionProvider"], **rest)

    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider", "CUDAExecutionProvider"])
    monkeypatch.setattr(ort, "InferenceSession", start)
    assert open_session(file).get_providers() == ["CPUExecutionProvider"]
    why = "CUDA failure 35: driver too old" if dropped == "by an exception" else "the runtime cannot load it"
    expected = f"{file}: runs on CPUExecutionProvider, since CUDAExecutionProvider did not start ({why})"
    assert [record.getMessage() for record in caplog.records] == [expected]
    assert capfd.readouterr().out == ""


def test_a_broken_file_is_an_error_and_not_the_fault_of_a_gpu(tmp_path, monkeypatch, caplog):
    (tmp_path / "m.onnx").write_bytes(b"no network")
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    with pytest.raises(CheckpointError, match=r"m\.onnx: not a loadable ONNX file"):
        open_session(tmp_path / "m.onnx")
    assert caplog.records == []


@pytest.mark.skipif(sys.platform != "linux", reason="the runtime keeps its notes elsewhere")
def test_the_runtime_leaves_no_notes_in_the_home(tmp_path):
    file = classifier(tmp_path / "m.onnx")
    home = tmp_path / "home"
    home.mkdir()
    kept = {key: value for key, value in os.environ.items() if key not in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")}
    code = (
        "import sys; from pathlib import Path; from ranfer.session import open_session; open_session(Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", code, str(file)], env={**kept, "HOME": str(home)}, check=True)
    assert list(home.rglob("*")) == []


def test_probabilities_land_in_our_columns_by_name(tmp_path):
    names = ["angry", "Disgusted", "fear", "HAPPY", "sad", "surprise", "neutral", "contempt"]
    weights = np.zeros((16, 8))
    weights[:, 3] = 1  # the brighter, the happier
    model = OnnxClassifier(classifier(tmp_path / "m.onnx", softmax=True, weights=weights), names)
    found = model(grey(255, 0), ["a", "b"]).probabilities
    assert found[0].argmax() == Expression.HAPPINESS.column
    assert found[0].max() > 0.999
    assert found[1] == pytest.approx(0.125)


def test_logits_become_probabilities_and_an_ignored_output_takes_no_share(tmp_path):
    weights = np.zeros((16, 4))
    weights[0] = np.log([2, 6, 90, 2])  # of a white pixel
    file = classifier(tmp_path / "m.onnx", outputs=4, weights=weights)
    model = OnnxClassifier(file, ["neutral", "sad", "-", "happy"], "output=logits")
    expected = np.zeros(8)
    expected[[Expression.NEUTRAL.column, Expression.SADNESS.column, Expression.HAPPINESS.column]] = 0.2, 0.6, 0.2
    assert model(grey(255), ["a"]).probabilities[0] == pytest.approx(expected)
    missing = ["surprise", "anger", "disgust", "fear", "contempt"]
    assert model.description["expressions without an output"] == missing


def test_a_face_whose_whole_mass_is_ignored_stays_undecided(tmp_path):
    weights = np.zeros((16, 3))
    weights[0] = [0, 0, 1]
    model = OnnxClassifier(classifier(tmp_path / "m.onnx", outputs=3, weights=weights), ["sad", "happy", "-"])
    assert sorted(model(grey(255), ["a"]).probabilities[0])[-2:] == pytest.approx([0.5, 0.5])


def test_colour_faces_are_laid_out_scaled_and_normalised_as_described(tmp_path):
    face = np.zeros((1, 2, 2, 3), dtype=np.uint8)
    face[..., 0], face[..., 1], face[..., 2] = 255, 51, 0
    told = "mean=0.5/0.2/0,std=0.5/1/1"
    nchw = raw_pixels(tmp_path / "a.onnx", face, told, ("b", 3, 2, 2))
    assert nchw[0, :, 0, 0] == pytest.approx([1, 0, 0], abs=1e-6)
    nhwc = raw_pixels(tmp_path / "b.onnx", face, "order=bgr,range=-1..1", ("b", 2, 2, 3))
    assert nhwc[0, 0, 0] == pytest.approx([-1, -0.6, 1], abs=1e-6)


def test_grey_input_is_luma_and_a_shrunken_face_is_antialiased(tmp_path):
    face = np.zeros((1, 8, 8, 3), dtype=np.uint8)
    face[:, ::2] = 255  # stripes: without a filter, sampling would find all black or all white
    pixels = raw_pixels(tmp_path / "m.onnx", face, "", ("b", 1, 2, 2))
    assert pixels == pytest.approx(0.5, abs=0.1)
    red = np.zeros((1, 2, 2, 3), dtype=np.uint8)
    red[..., 0] = 255
    expected = np.asarray(Image.fromarray(red[0]).convert("L"))[0, 0] / 255
    assert raw_pixels(tmp_path / "n.onnx", red, "", ("b", 1, 2, 2)) == pytest.approx(expected)


def test_a_uint8_input_gets_bytes(tmp_path):
    model = OnnxClassifier(classifier(tmp_path / "m.onnx", kind=TensorProto.UINT8), EIGHT, "output=logits")
    assert model._pixels(grey(7)).dtype == np.uint8
    with pytest.raises(ConfigError, match="uint8, which takes no range, mean or std"):
        OnnxClassifier(tmp_path / "m.onnx", EIGHT, "mean=0.5")


@pytest.mark.parametrize("fixed", [1, 3])
def test_a_fixed_batch_size_gives_what_a_free_one_gives(tmp_path, fixed):
    weights = np.random.default_rng(0).normal(size=(16, 8))
    faces = np.random.default_rng(1).integers(256, size=(5, 9, 7, 3), dtype=np.uint8)
    free = OnnxClassifier(classifier(tmp_path / "free.onnx", weights=weights), EIGHT, "output=logits")
    bound = classifier(tmp_path / "bound.onnx", shape=(fixed, 1, 4, 4), weights=weights)
    found = OnnxClassifier(bound, EIGHT, "output=logits")(faces, list("abcde"))
    np.testing.assert_allclose(found.probabilities, free(faces, list("abcde")).probabilities, rtol=1e-5)


@given(st.integers(0, 255), st.integers(1, 9))
def test_probabilities_sum_to_one_for_any_face(tmp_path_factory, value, size):
    file = tmp_path_factory.getbasetemp() / "sums.onnx"
    if not file.exists():
        classifier(file, weights=np.random.default_rng(0).normal(size=(16, 8)) * 50)
    model = OnnxClassifier(file, EIGHT, "output=logits,range=0..255")
    assert model(grey(value, size=size), ["a"]).probabilities.sum() == pytest.approx(1)


def test_values_that_contradict_the_described_output_say_which_word_is_right(tmp_path):
    logits = classifier(tmp_path / "logits.onnx")
    with pytest.raises(CheckpointError, match=r"look like logits .* say output=logits"):
        OnnxClassifier(logits, EIGHT)(grey(255), ["a"])
    normal = classifier(tmp_path / "normal.onnx", softmax=True)
    with pytest.raises(CheckpointError, match=r"look like probabilities .* say output=probabilities"):
        OnnxClassifier(normal, EIGHT, "output=logits")(grey(255), ["a"])


def test_a_number_of_labels_unlike_the_outputs_names_both(tmp_path):
    with pytest.raises(CheckpointError, match=r"7 labels want .* 7 numbers a face, but the file gives y .*8\]"):
        OnnxClassifier(classifier(tmp_path / "m.onnx"), EIGHT[:7])


def test_an_output_that_lies_on_its_side_is_refused(tmp_path):
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["z"]),
        helper.make_node("Transpose", ["z"], ["y"]),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", ("b", 1, 4, 4)), ("y", None))
    ]
    path = save(
        tmp_path / "m.onnx", nodes, ends[:1], ends[1:], [numpy_helper.from_array(np.eye(16, 8, dtype=np.float32), "w")]
    )
    with pytest.raises(CheckpointError, match=r"8 labels, but an output of shape \(8, 2\)"):
        OnnxClassifier(path, EIGHT, "output=logits")(grey(0, 9), ["a", "b"])


@pytest.mark.parametrize(
    ("labels", "kind", "message"),
    [
        (["hapy", *EIGHT[1:]], DataError, "--labels, name 1: no expression is called 'hapy'"),
        (["sad", *EIGHT[1:]], ConfigError, "two outputs are called sadness"),
        (["-"] * 8, ConfigError, "every output is ignored"),
    ],
)
def test_a_wrong_label_is_named(tmp_path, labels, kind, message):
    with pytest.raises(kind, match=message):
        OnnxClassifier(classifier(tmp_path / "m.onnx"), labels)


@pytest.mark.parametrize(
    ("preprocess", "message"),
    [
        ("size=5", r"its input is \['b', 1, 4, 4\], but --preprocess makes faces \[1, 5, 5\]"),
        ("layout=nhwc", r"makes faces \[4, 4, 1\]"),
        ("colour=rgb", "colour"),
        ("channels=2", "channels"),
        ("mean", "expected each key once"),
        ("mean=0,mean=1", "expected each key once"),
        ("mean=0/0", "mean must be one number"),
        ("std=0", "std must be positive"),
        ("range=1..0", "range must rise"),
        ("output=softmax", "output"),
    ],
)
def test_a_wrong_input_description_is_one_error_that_names_the_key(tmp_path, preprocess, message):
    with pytest.raises(ConfigError, match=message):
        OnnxClassifier(classifier(tmp_path / "m.onnx"), EIGHT, preprocess)


def test_what_the_file_does_not_tell_must_be_said(tmp_path):
    file = classifier(tmp_path / "m.onnx", shape=("b", 1, "h", "w"), weights=np.ones((6, 8)))
    with pytest.raises(ConfigError, match="does not specify size: give it with --preprocess"):
        OnnxClassifier(file, EIGHT)
    model = OnnxClassifier(file, EIGHT, "size=3x2, output=logits")
    assert model.input.size == (3, 2)
    assert model(grey(9), ["a"]).probabilities == pytest.approx(0.125)


def test_other_forms_of_files_are_refused_with_what_they_are(tmp_path):
    junk = tmp_path / "junk.onnx"
    junk.write_bytes(b"no onnx")
    with pytest.raises(CheckpointError, match=r"junk\.onnx: not a loadable ONNX file"):
        open_session(junk)
    with pytest.raises(CheckpointError, match=r"none\.onnx: no such file"):
        open_session(Path(tmp_path / "none.onnx"))
    with pytest.raises(CheckpointError, match=r"expected a batch of pictures .* got tensor\(float\) \['b', 16\]"):
        OnnxClassifier(classifier(tmp_path / "flat.onnx", shape=("b", 16)), EIGHT)
    two = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", 1, 2, 2]) for name in ("x", "z")]
    out = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["b", 1, 2, 2])]
    save(tmp_path / "two.onnx", [helper.make_node("Add", ["x", "z"], ["y"])], two, out)
    with pytest.raises(CheckpointError, match="expected one input, got 2: x, z"):
        OnnxClassifier(tmp_path / "two.onnx", EIGHT)


def test_a_file_of_ours_is_known_by_its_metadata_and_needs_no_labels(tmp_path):
    model = open_onnx(ours(tmp_path / "ours.onnx"), None)
    assert isinstance(model, OnnxModel)
    found = model(grey(1, 2, 3), list("abc"))
    assert found.probabilities.shape == (3, 8)
    assert found.weight is not None
    assert found.weight.tolist() == [[0.5, 0.5]] * 3
    assert found.mu is None
    assert model.description["revision"] == "abc"


def test_a_file_of_ours_with_other_inputs_or_labels_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"expected the input 'faces', or .* the file wants faces, boxes"):
        open_onnx(ours(tmp_path / "a.onnx", inputs=("faces", "boxes")), None)
    with pytest.raises(CheckpointError, match=r"label order .* is not that of this version"):
        open_onnx(ours(tmp_path / "b.onnx", labels=EIGHT[::-1]), None)


def test_a_strangers_file_needs_labels(tmp_path):
    with pytest.raises(ConfigError, match="name its outputs with --labels"):
        open_onnx(classifier(tmp_path / "m.onnx"), None)
