"""The colours of a photo, from which things that are drawn into it take theirs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ranfer.occluders.canvas import Colour


class Look(NamedTuple):
    """The colours of a photo: its black and white, the skin of the face and the hair above it, RGB of 0 to 255."""

    black: Colour
    white: Colour
    skin: Colour
    hair: Colour

    def tone(self, *albedo: float) -> Colour:
        """A thing that reflects so much of the light (grey, or three channels), between the photo's black and white."""
        red, green, blue = albedo * 3 if len(albedo) == 1 else albedo
        return tuple(  # type: ignore[return-value]
            dark + share * (light - dark)
            for dark, light, share in zip(self.black, self.white, (red, green, blue), strict=True)
        )

    def cloth(self, rng: np.random.Generator) -> Colour:
        """Any colour of clothes."""
        grey = rng.uniform(0.02, 0.95)
        return self.tone(*np.clip(grey + rng.normal(0, 0.12, 3), 0.01, 1).tolist())

    def skin_of(self, rng: np.random.Generator) -> Colour:
        """The skin of a hand that belongs to the face."""
        return shade(self.skin, rng.uniform(0.92, 1.2))

    def hair_of(self, rng: np.random.Generator) -> Colour:
        """The hair that the picture shows, or any other."""
        if rng.random() < 0.5:
            return self.hair
        return self.tone(*(rng.choice([0.04, 0.12, 0.3, 0.6]) * np.array([1.15, 1.0, 0.8])).tolist())


def shade(colour: Colour, factor: float) -> Colour:
    """A colour in more or less light."""
    red, green, blue = colour
    return min(red * factor, 255.0), min(green * factor, 255.0), min(blue * factor, 255.0)


def side_of(rng: np.random.Generator) -> int:
    """Left or right, -1 or 1."""
    return 1 if rng.random() < 0.5 else -1
