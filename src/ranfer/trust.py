"""Why an expression is not trusted; docs/log.md says what was measured. Each returns a list of at most one reason."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ranfer.vocab import Expression, Occlusion, Pose

TINY = 20  # pixels; the detector looks for faces from this size on, and smaller ones show too little
TURNED = 45  # degrees of yaw or pitch
# Probability of a covered lower face. Answers that were sure about faces whose upper half or side is covered, or that
# wear glasses, were right as often as others.
COVERED = 0.5


def if_unsure(expression: Expression, probability: float, threshold: float | None) -> list[str]:
    """The calibrated probability is below the threshold of the weights, or they carry none."""
    if threshold is None:
        return ["unknown: these weights carry no measured threshold"]
    if probability >= threshold:
        return []
    shown = math.floor(100 * probability) / 100  # rounding up could show the threshold itself
    return [f"unsure: {expression} {shown:.2f} of {threshold:.2f} needed"]


def if_tiny(side: float) -> list[str]:
    """The longer side of the face's box has too few pixels."""
    return [f"tiny: {math.floor(side)} of {TINY} pixels needed"] if side < TINY else []


def if_turned(pose: Pose) -> list[str]:
    """The head is turned too far."""
    return [f"turned {pose.turn:.0f} degrees"] if pose.turn > TURNED else []


def if_covered(occlusion: Mapping[Occlusion, float]) -> list[str]:
    """The lower face is probably covered."""
    return ["lower face covered"] if occlusion[Occlusion.LOWER] > COVERED else []
