import math
import struct

import numpy as np
import pytest
from PIL import Image
from timm.data import create_transform

from zoo.bundle import BundleError, ImageError, Preprocessing
from zoo.bundle.images import open_rgb

CFG = {
    "input_size": (3, 32, 32),
    "crop_pct": 0.875,
    "interpolation": "bicubic",
    "mean": (0.5, 0.4, 0.3),
    "std": (0.2, 0.3, 0.4),
}


def picture(width, height, mode="RGB"):
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise).convert(mode)


@pytest.mark.parametrize("crop_pct", [1.0, 0.875, 0.9])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [(32, 32), (8, 8), (64, 48), (47, 91), (333, 100), (33, 32), (1, 1), (2, 150)])
def test_pixels_equal_timms_evaluation_transform(size, interpolation, crop_pct):
    cfg = {**CFG, "interpolation": interpolation, "crop_pct": crop_pct}
    transform = create_transform(
        input_size=(3, 32, 32), interpolation=interpolation, mean=cfg["mean"], std=cfg["std"], crop_pct=crop_pct
    )
    ours = Preprocessing.from_pretrained_cfg(cfg).pixels(picture(*size))
    normalised = (ours / 255 - np.array(cfg["mean"])) / np.array(cfg["std"])
    theirs = transform(picture(*size)).numpy().transpose(1, 2, 0)
    np.testing.assert_allclose(normalised, theirs, atol=1e-5)


@pytest.mark.filterwarnings("error")
def test_a_palette_with_an_alpha_of_its_own_gives_its_colours(tmp_path):
    image = picture(8, 8, "P")
    image.save(tmp_path / "a.png", transparency=bytes(range(256)))
    np.testing.assert_array_equal(open_rgb(tmp_path / "a.png", "a.png"), image.convert("RGB"))


def test_of_16_bits_the_upper_8_stay_whatever_pillow_calls_them(tmp_path):
    (tmp_path / "16.pgm").write_bytes(b"P5 2 1 65535\n" + struct.pack(">2H", 0x0180, 0xFFFF))
    assert np.asarray(open_rgb(tmp_path / "16.pgm", "16"))[0, :, 0].tolist() == [1, 255]


@pytest.mark.parametrize(("kind", "values"), [("int32", [0, 60000]), ("float32", [0, 1]), ("float32", [-1, 9])])
def test_32_bits_of_a_range_that_is_not_known_are_refused(tmp_path, kind, values):
    Image.fromarray(np.array([values], kind)).save(tmp_path / "a.tif")
    with pytest.raises(ImageError, match="have 32 bits and are not in 0 to 255"):
        open_rgb(tmp_path / "a.tif", "a.tif")


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1", "LA"])
def test_any_mode_becomes_three_channels(mode):
    pixels = Preprocessing.from_pretrained_cfg(CFG).pixels(picture(40, 50, mode))
    assert pixels.shape == (32, 32, 3)
    assert pixels.dtype == np.uint8


@pytest.mark.parametrize(
    "change",
    [
        {"input_size": (1, 32, 32)},
        {"input_size": (3, 32, 64)},
        {"crop_mode": "squash"},
        {"interpolation": "magic"},
        {"std": (0.1, 0.0, 0.1)},
        {"std": (0.1, math.inf, 0.1)},
        {"std": (0.1, math.nan, 0.1)},
        {"mean": (math.nan, 0.5, 0.5)},
        {"mean": "555"},
        {"crop_pct": 0},
        {"crop_pct": 1e-9},
        {"crop_pct": math.nan},
        {"crop_pct": "0.9"},
        {"mean": None},
    ],
)
def test_what_the_pipeline_cannot_do_is_refused(change):
    with pytest.raises(BundleError, match=r"config\.json"):
        Preprocessing.from_pretrained_cfg({**CFG, **change})


def test_a_missing_field_is_refused():
    with pytest.raises(BundleError, match="crop_pct"):
        Preprocessing.from_pretrained_cfg({key: value for key, value in CFG.items() if key != "crop_pct"})


def test_grey_of_16_bits_keeps_its_shades():
    shades = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1024
    pixels = Preprocessing(8, 1.0, "nearest", (0.5,) * 3, (0.5,) * 3).pixels(Image.fromarray(shades))
    assert np.array_equal(pixels[..., 0], shades >> 8)
    assert np.array_equal(pixels[..., 0], pixels[..., 2])


def test_a_format_that_pillow_knows_of_and_cannot_decode_is_no_image(tmp_path):
    # A DDS header with a pixel format that nobody has: Pillow raises NotImplementedError.
    header = struct.pack("<7I44x", 124, 0x1007, 8, 8, 0, 0, 0) + struct.pack("<2I4s5I", 32, 4, b"NONE", 0, 0, 0, 0, 0)
    path = tmp_path / "texture.dds"
    path.write_bytes(b"DDS " + header + struct.pack("<5I", 0x1000, 0, 0, 0, 0) + bytes(64))
    with pytest.raises(ImageError, match=r"texture\.dds cannot be read as an image \(Unimplemented pixel format"):
        open_rgb(path, path.name)
