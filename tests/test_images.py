"""Pictures of every kind come out as upright RGB bytes, or as one error that names them."""

import io
import os
import struct
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ranfer.errors import ImageError
from ranfer.images import decode_image, to_rgb

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def encode(picture, kind="PNG", **options):
    data = io.BytesIO()
    picture.save(data, format=kind, **options)
    return data.getvalue()


def decode(data):
    return decode_image(data, "x")


def test_rgb_comes_out_as_it_went_in():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    assert np.array_equal(decode(encode(Image.fromarray(pixels))), pixels)


def test_a_file_and_its_bytes_are_the_same(tmp_path):
    data = encode(Image.new("RGB", (3, 2), RED))
    (tmp_path / "a.png").write_bytes(data)
    assert np.array_equal(decode_image(tmp_path / "a.png", "a"), decode(data))


def test_grey_has_three_equal_channels():
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    assert np.array_equal(decode(encode(Image.fromarray(grey))), np.repeat(grey[..., None], 3, axis=2))


def test_black_and_white_spans_the_whole_range():
    face = decode(encode(Image.fromarray(np.array([[True, False]]))))
    assert face[..., 0].tolist() == [[255, 0]]


@pytest.mark.parametrize(
    ("orientation", "corner"), [(1, (0, 0)), (2, (0, -1)), (3, (-1, -1)), (4, (-1, 0)), (6, (0, -1)), (8, (-1, 0))]
)
def test_the_exif_tag_turns_the_picture_upright(orientation, corner):
    picture = Image.new("RGB", (4, 2), WHITE)
    picture.putpixel((0, 0), RED)
    exif = Image.Exif()
    exif[0x0112] = orientation
    face = decode(encode(picture, exif=exif))
    assert face.shape == ((4, 2, 3) if orientation > 4 else (2, 4, 3))
    assert tuple(face[corner]) == RED


@pytest.mark.parametrize("kind", [(11, b"\0\0\xc0\x7f"), (13, b"\1\0\0\0")])
def test_a_tag_of_an_odd_type_does_not_keep_a_good_picture_from_being_read(kind):
    """Type and value of a tag that should be a number of pixels, beside an orientation of 6."""
    tags = struct.pack("<HHHII", 2, 256, kind[0], 1, *struct.unpack("<I", kind[1]))
    tags += struct.pack("<HHII", 274, 3, 1, 6) + b"\0\0\0\0"
    exif = b"Exif\0\0II*\0" + struct.pack("<I", 8) + tags
    plain = encode(Image.new("L", (4, 2)), "JPEG")
    marked = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + plain[2:]
    assert decode(marked).shape == (4, 2, 3)


def test_cmyk_becomes_rgb():
    face = decode(encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))
    assert np.abs(face.astype(int) - RED).max() < 10


def test_integer_greys_of_32_bits_may_hold_bytes():
    grey = np.array([[0, 100, 255]], dtype=np.int32)
    assert np.asarray(to_rgb(Image.fromarray(grey)))[0, :, 0].tolist() == [0, 100, 255]
    assert np.asarray(to_rgb(Image.fromarray(257 * grey)))[0, :, 0].tolist() == [0, 100, 255]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels_are_laid_on_white(mode):
    values = {"RGBA": [(255, 0, 0, 255), (255, 0, 0, 0), (0, 0, 0, 128)], "LA": [(76, 255), (76, 0), (0, 128)]}[mode]
    picture = Image.new(mode, (3, 1))
    picture.putdata(values)
    opaque, clear, half = decode(encode(picture))[0].astype(int)
    assert opaque.tolist() == list(RED if mode == "RGBA" else (76, 76, 76))
    assert clear.tolist() == list(WHITE)
    assert np.abs(half - 127).max() <= 1


def test_the_transparent_colour_of_a_palette_is_laid_on_white():
    picture = Image.new("P", (2, 1))
    picture.putpalette([*RED, *BLUE])
    picture.putdata([0, 1])
    assert decode(encode(picture)).tolist() == [[list(RED), list(BLUE)]]
    assert decode(encode(picture, transparency=0)).tolist() == [[list(WHITE), list(BLUE)]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_and_not_clipped(kind):
    deep = np.array([[0, 257 * 100, 65535]], dtype=np.uint16)
    assert decode(encode(Image.fromarray(deep), kind))[0, :, 0].tolist() == [0, 100, 255]


@pytest.mark.parametrize("top", [1.0, 255.0])
def test_float_greys_are_scaled_to_their_own_range(top):
    grey = np.array([[0, 0.5 * top, top]], dtype=np.float32)
    assert decode(encode(Image.fromarray(grey), "TIFF"))[0, :, 0].tolist() == [0, 128, 255]


def test_the_first_frame_of_an_animation_is_taken():
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, BLUE)]
    face = decode(encode(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert (face == RED).all()


def test_the_first_frame_of_a_transparent_animation_is_laid_on_white():
    frames = [Image.new("RGBA", (4, 4), (*colour, 0)) for colour in (RED, BLUE)]
    assert (decode(encode(frames[0], "GIF", save_all=True, append_images=frames[1:])) == WHITE).all()


@pytest.mark.parametrize("kind", ["WEBP", "BMP", "TIFF", "PNG"])
def test_other_formats_are_read(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    assert (decode(encode(Image.new("RGB", (4, 4), BLUE), kind, **options)) == BLUE).all()


def test_a_truncated_picture_is_an_error_that_names_it():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"):
        data = encode(Image.fromarray(noise), kind)
        for share in (0.1, 0.5, 0.9):
            with pytest.raises(ImageError, match=r"^photo: "):
                decode_image(data[: int(len(data) * share)], "photo")


def test_an_empty_file_is_an_error(tmp_path):
    (tmp_path / "empty.png").touch()
    for source in (b"", tmp_path / "empty.png"):
        with pytest.raises(ImageError, match=r"^photo: "):
            decode_image(source, "photo")


def test_text_in_a_picture_file_is_an_error(tmp_path):
    (tmp_path / "text.png").write_text("I am no picture.")
    with pytest.raises(ImageError, match=r"^photo: not a readable picture"):
        decode_image(tmp_path / "text.png", "photo")


def test_a_missing_file_and_a_folder_are_errors(tmp_path):
    with pytest.raises(ImageError, match=r"^photo: no such file$"):
        decode_image(tmp_path / "gone.png", "photo")
    with pytest.raises(ImageError, match=r"^photo: "):
        decode_image(tmp_path, "photo")


def test_a_name_that_can_be_none_is_an_error():
    for name in ("a\0b.png", "\ud800.png"):
        with pytest.raises(ImageError, match=r"^odd: cannot be read"):
            decode_image(Path(name), "odd")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match=r"^pipe: expected a file, got a folder, pipe or device$"):
        decode_image(tmp_path / "pipe.png", "pipe")


def test_a_name_that_is_too_long_is_an_error(tmp_path):
    with pytest.raises(ImageError, match=r"^long: cannot be read .*too long"):
        decode_image(tmp_path / ("a" * 300), "long")


def test_a_picture_that_claims_too_many_pixels_is_an_error(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ImageError, match=r"^photo: too many pixels"):
        decode_image(encode(Image.new("L", (100, 100))), "photo")
    assert decode_image(encode(Image.new("L", (15, 10))), "photo").shape == (10, 15, 3)  # large, but no attack


def test_what_pillow_cannot_do_is_an_image_error():
    data = bytearray(encode(Image.new("RGB", (4, 4)), "DDS"))
    data[80:84] = bytes(4)  # a pixel format that does not exist
    with pytest.raises(ImageError, match=r"^photo: not a readable picture"):
        decode_image(bytes(data), "photo")


@pytest.mark.filterwarnings("error")
def test_bytes_of_any_kind_are_a_picture_or_an_image_error():
    """Random damage to a valid file never raises anything else."""
    noise = np.random.default_rng(1)
    for kind in ("PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP"):
        whole = encode(Image.fromarray(noise.integers(0, 256, (16, 16, 3), dtype=np.uint8)), kind)
        for _ in range(60):
            data = bytearray(whole)
            for place in noise.integers(0, len(data), size=6):
                data[place] = noise.integers(256)
            try:
                assert decode(bytes(data)).dtype == np.uint8
            except ImageError as error:
                assert str(error).startswith("x: ")


def test_decoding_leaves_the_filters_of_warnings_alone_which_all_threads_share(monkeypatch):
    shared, open_picture, seen = warnings.filters, Image.open, []
    monkeypatch.setattr(Image, "open", lambda file: (seen.append(warnings.filters is shared), open_picture(file))[1])
    decode(encode(Image.new("L", (4, 4))))
    assert seen == [True]


def test_a_large_picture_is_read_without_a_word():
    code = (
        "import io; from PIL import Image; from ranfer.images import decode_image; Image.MAX_IMAGE_PIXELS = 100;"
        "data = io.BytesIO(); Image.new('L', (15, 10)).save(data, 'PNG'); decode_image(data.getvalue(), 'photo')"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout + said.stderr == ""


def test_a_picture_for_which_the_memory_does_not_reach_says_so(monkeypatch):
    def starve(file):
        raise MemoryError

    monkeypatch.setattr(Image, "open", starve)
    with pytest.raises(ImageError, match=r"^x: too large for the memory that is left$"):
        decode(b"some bytes")
