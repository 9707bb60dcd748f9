"""Any picture to one form: RGB bytes, upright, with one clear error where that cannot be."""

from __future__ import annotations

import io
import os
import stat
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image
from PIL.Image import Transpose

from ranfer.errors import ImageError

# Pillow warns of odd tags and of large sizes; what cannot be read raises all the same. Said once for the process,
# since warnings.catch_warnings would change the filters under the feet of other threads.
warnings.filterwarnings("ignore", module=r"PIL\.")

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's convert("L")
Picture = str | os.PathLike[str] | np.ndarray | Image.Image
TURNS = {  # what undoes each orientation of EXIF
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}


def decode_image(source: Path | bytes, name: str) -> UInt8[np.ndarray, "h w 3"]:
    """The first frame of a picture as RGB, rotated upright by its EXIF tag; ``name`` is what errors call it.

    Transparent pixels are laid on white. 16-bit and float greys are scaled to their own range of 0 to 255.

    Raises:
        ImageError: missing, empty, truncated, of no known format, or so large that Pillow takes it for an attack
            (over 178 megapixels).

    >>> from pathlib import Path
    >>> decode_image(Path("photo.jpg"), "photo.jpg").shape
    (330, 330, 3)
    """
    if isinstance(source, Path):
        check_file(source, name)
    elif source == b"":
        raise ImageError(f"{name}: empty (0 bytes)")
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as picture:
            return np.asarray(to_rgb(_upright(picture)))
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name}: too many pixels ({error})") from error
    except MemoryError:
        raise ImageError(f"{name}: too large for the memory that is left") from None
    except Exception as error:  # each decoder has errors of its own
        raise ImageError(f"{name}: not a readable picture ({error})") from error


def _upright(picture: Image.Image) -> Image.Image:
    """Turned as its EXIF tag says; Pillow's own function writes all tags anew, too, and fails on odd ones."""
    picture.load()
    turn = TURNS.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    return picture if turn is None else picture.transpose(turn)


def check_file(path: Path, name: str) -> None:
    """Refuse what no decoder should be given: some would wait for a pipe for ever.

    Raises:
        ImageError: missing, out of reach, a folder, pipe or device, or empty; ``name`` is what it is called.
    """
    try:
        about = path.stat()
    except FileNotFoundError:
        raise ImageError(f"{name}: no such file") from None
    except (OSError, ValueError) as error:  # of a name that can be none
        raise ImageError(f"{name}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if not stat.S_ISREG(about.st_mode):
        raise ImageError(f"{name}: expected a file, got a folder, pipe or device")
    if about.st_size == 0:
        raise ImageError(f"{name}: empty (0 bytes)")


@contextmanager
def processing(name: str) -> Iterator[None]:
    """A block that resamples or searches a picture, which one error of OpenCV's or of memory must not end a run.

    Raises:
        ImageError: the block raised such an error; ``name`` is what the picture is called.
    """
    try:
        yield
    except (MemoryError, cv2.error) as error:  # OpenCV has an error of its own where memory is short
        reason = " ".join(str(error).split()) or "out of memory"
        raise ImageError(f"{name}: cannot be processed, or memory is short ({reason})") from error


def to_rgb(picture: Image.Image) -> Image.Image:
    """A picture of any mode as RGB: transparent pixels on white, greys of 16 bits and floats scaled to bytes.

    >>> from PIL import Image
    >>> to_rgb(Image.new("LA", (1, 1), (0, 0))).getpixel((0, 0))
    (255, 255, 255)
    """
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        # Pillow clips such greys at 255. Floats span 0 to 1 or else 0 to 255, integers 16 bits, or 8 of 32.
        grey = np.asarray(picture, dtype=np.float64)
        most = grey.max(initial=0)
        if picture.mode == "F":
            top = 1.0 if most <= 1 else 255.0
        else:
            top = 255.0 if picture.mode == "I" and most <= 255 else 65535.0
        picture = Image.fromarray(np.clip(grey / top * 255 + 0.5, 0, 255).astype(np.uint8))
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")


def as_rgb(picture: Picture, name: str) -> UInt8[np.ndarray, "h w 3"]:
    """Any form of a picture as RGB bytes; ``name`` is what errors call an array or a PIL image.

    Raises:
        ImageError: a file that cannot be read, an array of another shape or kind, or something else altogether.

    >>> import numpy as np
    >>> as_rgb(np.zeros((48, 48), dtype=np.uint8), "a grey face").shape
    (48, 48, 3)
    """
    if isinstance(picture, str | os.PathLike):
        return decode_image(Path(picture), os.fspath(picture))
    if isinstance(picture, Image.Image):
        try:
            return np.asarray(to_rgb(_upright(picture)))
        except Exception as error:  # an image that is read only now, from a broken file
            raise ImageError(f"{name}: not a readable picture ({error})") from error
    expected = f"{name}: expected a path, a PIL image, or a uint8 array (h, w, 3) in RGB or (h, w) in grey"
    if not isinstance(picture, np.ndarray):
        raise ImageError(f"{expected}; got {type(picture).__name__}")
    channels = 1 if picture.ndim == 2 else picture.shape[-1]
    if picture.dtype != np.uint8 or picture.ndim not in (2, 3) or channels not in (1, 3):
        raise ImageError(f"{expected}; got {picture.dtype} {picture.shape}")
    wide = picture.reshape(*picture.shape[:2], channels)
    return np.ascontiguousarray(np.broadcast_to(wide, (*picture.shape[:2], 3)))


def by_shape(
    pictures: Sequence[UInt8[np.ndarray, "_ _ c"]], most: int
) -> Iterator[tuple[list[int], UInt8[np.ndarray, "b h w c"]]]:
    """Pictures of any sizes as batches of one size, of ``most`` pictures at most: which they are, and their pixels.

    >>> import numpy as np
    >>> pictures = [np.zeros((side, side, 3), dtype=np.uint8) for side in (48, 32, 48)]
    >>> [(places, batch.shape) for places, batch in by_shape(pictures, 64)]
    [([0, 2], (2, 48, 48, 3)), ([1], (1, 32, 32, 3))]
    """
    places: dict[tuple[int, ...], list[int]] = {}
    for place, picture in enumerate(pictures):
        places.setdefault(picture.shape, []).append(place)
    for alike in places.values():
        for start in range(0, len(alike), most):
            batch = alike[start : start + most]
            yield batch, np.stack([pictures[place] for place in batch])
