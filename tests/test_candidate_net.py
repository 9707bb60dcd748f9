"""The candidate network: its file says what it says, and what it is shown is where it is told to be."""

import sys
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
import torch

from ranfer.candidate_net import SIZE, CandidateNet, export_candidates
from ranfer.faces import cascade

POINTS = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.75], [0.65, 0.75]])


@pytest.fixture(scope="module")
def trainer():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[1] / "scripts")
        import train_detector

        yield train_detector
    sys.modules.pop("train_detector")
    sys.modules.pop("pasted_faces")


def test_the_file_tells_what_the_network_tells(tmp_path, unchecked):
    torch.manual_seed(0)
    net = CandidateNet().eval()
    assert export_candidates(net, tmp_path / "net.onnx", {"kind": "a test"}) < 1e-4
    pixels = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)
    score, square, points = onnxruntime.InferenceSession(tmp_path / "net.onnx").run(None, {"pixels": pixels})
    assert (score.shape, square.shape, points.shape) == ((3,), (3, 3), (3, 5, 2))
    grey = torch.from_numpy(pixels).float().matmul(torch.tensor([0.299, 0.587, 0.114])) / 255
    with torch.inference_mode():
        told = net(grey[:, None])
    np.testing.assert_allclose(score, told.odds.sigmoid(), atol=1e-4)
    np.testing.assert_allclose(points, told.points, atol=1e-4)


def test_brightness_makes_no_difference():
    net = CandidateNet().eval()
    assert cascade.SIZE == SIZE
    image = torch.rand(1, 1, SIZE, SIZE) * 0.5
    with torch.inference_mode():
        torch.testing.assert_close(net(image).points, net(image + 0.3).points, atol=1e-4, rtol=1e-3)
        assert torch.isfinite(net(torch.zeros(1, 1, SIZE, SIZE)).odds).all()


def test_points_lie_where_the_face_was_pasted(trainer, tmp_path, monkeypatch):
    """A dark face with one bright spot, pasted over grey: the spot is where the first point is told to be."""
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((300, 300, 3), 90, np.uint8))
    painter = trainer.Painter([tmp_path / "grey.png"])
    monkeypatch.setattr(trainer, "draw_random", lambda face, rng, points: pytest.fail("covered"))
    face = np.full((48, 48), 20, np.uint8)
    face[18:23, 13:18] = 255  # its middle is at 15.5, 20.5
    spot = np.array([15.5, 20.5]) / 48
    seen = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        if rng.random() < 0.5 or rng.random() < 0.35:  # mirrored, where the points change places; or covered
            continue
        shown = painter.scene(np.random.default_rng(seed), face, np.tile(spot, (5, 1)))
        for pixels, is_face, square, points in zip(*shown, strict=True):
            x, y = (points[0] + 0.5) * SIZE
            if is_face and 3 < x < SIZE - 3 and 3 < y < SIZE - 3 and pixels.max() > pixels.mean() + 90:
                near = pixels[round(y) - 3 : round(y) + 3, round(x) - 3 : round(x) + 3]
                wide = pixels[max(round(y) - 9, 0) : round(y) + 9, max(round(x) - 9, 0) : round(x) + 9]
                assert near.max() == wide.max()
                # The spot lies at (-0.18, -0.07) of the frame from its centre, before the frame is turned.
                off = np.linalg.norm(points[0] - square[:2]) / np.exp(square[2])
                assert off == pytest.approx(np.linalg.norm(spot - 0.5), abs=1e-3)
                seen += 1
    assert seen > 20


def test_a_photo_without_anything_and_training_go_through(trainer, tmp_path):
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((300, 200, 3), 90, np.uint8))
    painter = trainer.Painter([tmp_path / "grey.png"])
    rng = np.random.default_rng(0)
    assert painter.propose(rng, 0, None).shape[1:] == (SIZE, SIZE)
    net = CandidateNet()
    scenes = trainer.together(
        painter.scene(np.random.default_rng([0, seed]), np.full((48, 48), seed, np.uint8), POINTS) for seed in range(8)
    )
    square, points = torch.from_numpy(scenes.square), torch.from_numpy(scenes.points)
    there = trainer.mirrored(square, points)
    torch.testing.assert_close(there[0][:, 0], -square[:, 0])
    torch.testing.assert_close(there[1][:, 0, 0], -points[:, 1, 0])  # the left eye is the one that was the right
    torch.testing.assert_close(trainer.mirrored(*there), (square, points))
    before = net.head[1].weight.clone()
    trainer.fit(net, scenes, epochs=1, rate=0.001, batch=8)
    assert not torch.equal(before, net.head[1].weight)
    assert len(painter.propose(rng, 0, net)) <= trainer.PER_PHOTO
