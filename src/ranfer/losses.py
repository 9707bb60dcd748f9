"""What training minimises: cross-entropy with soft targets, and the region-biased loss."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor


def cross_entropy(
    logits: Float[Tensor, "b c"],
    targets: Float[Tensor, "b c"],
    class_weights: Float[Tensor, " c"] | None = None,
    label_smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Mean cross-entropy against distributions (one-hot rows for hard labels).

    A face counts by the class weight that its target calls for, and the mean is over these weights, so that hard labels
    give the same as PyTorch's ``cross_entropy(logits, index, weight)``. Smoothing mixes the uniform distribution into
    the target first, and so, unlike PyTorch's, into the weight of the face.
    """
    targets = targets * (1 - label_smoothing) + label_smoothing / targets.shape[1]
    terms = -targets * logits.log_softmax(dim=1)
    if class_weights is None:
        return terms.sum(dim=1).mean()
    return (terms * class_weights).sum() / (targets * class_weights).sum()


def region_biased(
    mu: Float[Tensor, "b r"], margin: float, mask: Bool[Tensor, "b r"] | None = None
) -> Float[Tensor, ""]:
    """Mean over faces of max(0, margin - (max over crops of mu - mu of the whole face)).

    It asks that the best crop weigh more than the face by ``margin``; zero for a face without crops. Source: RAN,
    equation 6; in ``softmax`` attention mu comes after the softmax, as in the published code.
    """
    if mu.shape[1] == 1:
        return mu.sum() * 0.0  # there are no crops; a zero that gradients still flow through
    crops = mu[:, 1:]
    if mask is None:
        return (margin - (crops.amax(dim=1) - mu[:, 0])).clamp(min=0).mean()
    best = crops.masked_fill(~mask[:, 1:], 0.0).amax(dim=1)
    return ((margin - (best - mu[:, 0])).clamp(min=0) * mask[:, 1:].any(dim=1)).mean()
