"""The mean of two models' weights, as one checkpoint: of a model and of what it became when it was trained on.

    python scripts/average_weights.py runs/default/best.safetensors runs/default-1.onnx --out runs/mean.safetensors

Source: Wortsman et al., Model soups, ICML 2022. It needs models of one network that share a part of their training.
"""

import argparse
from pathlib import Path

import torch

from ranfer.checkpoint import load, save_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="a checkpoint, whose story the new one tells")
    parser.add_argument("other", type=Path, help="a checkpoint, or an exported file")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.safetensors")
    options = parser.parse_args()
    trained, other = load(options.model), load(options.other).model.state_dict()
    own = trained.model.state_dict()
    trained.model.load_state_dict(
        {
            name: torch.lerp(value, other[name], 0.5) if value.is_floating_point() else value
            for name, value in own.items()
        }
    )
    about = {name: value for name, value in trained.description.items() if name not in ("file", "figures", "epoch")}
    save_model(options.out, trained.model, about | {"mean_of": [options.model.name, options.other.name]})


if __name__ == "__main__":
    main()
