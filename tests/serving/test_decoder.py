from __future__ import annotations

import asyncio
import io
import struct
import threading
import time
from contextlib import closing, suppress
from functools import cache

import numpy as np
import pytest
from PIL import Image

from benchmarks.serving_load import photograph
from serving.decoder import FORMATS, MAX_SCANS, Decoder
from serving.errors import ServingError
from zoo.bundle import Preprocessing


@pytest.fixture
def decoder(bundle):
    decoder = Decoder(bundle.preprocessing, max_pixels=64_000_000, threads=2, max_pending=4)
    yield decoder
    decoder.close()


def code_of(decoder, data):
    with pytest.raises(ServingError) as caught:
        decoder.decode(data)
    return caught.value.code


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_pixels_are_those_of_the_bundle_s_preprocessing(decoder, bundle, encode, kind):
    data = encode(kind)
    expected = bundle.preprocessing.pixels(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(decoder.decode(data), expected)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1", "I;16"])
def test_every_mode_of_png_becomes_rgb(decoder, encode, mode):
    image = Image.open(io.BytesIO(encode("PNG")))
    buffer = io.BytesIO()
    (image.convert("I").convert("I;16") if mode == "I;16" else image.convert(mode)).save(buffer, "PNG")
    assert decoder.decode(buffer.getvalue()).shape == (8, 8, 3)


def test_cmyk_jpeg_becomes_rgb(decoder, encode):
    assert decoder.decode(encode(mode="CMYK")).shape == (8, 8, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("sixteenth", range(1, 16))
def test_truncated_anywhere_is_an_invalid_image(decoder, encode, kind, sixteenth):
    data = encode(kind)
    assert code_of(decoder, data[: len(data) * sixteenth // 16]) == "invalid_image"


def test_flipped_bytes_raise_the_service_s_error_or_none(decoder, encode):
    generator = np.random.default_rng(0)
    for kind in ("JPEG", "PNG", "WEBP"):
        data = encode(kind)
        for _ in range(100):
            broken = bytearray(data)
            for place in generator.integers(0, len(data), 5):
                broken[place] ^= int(generator.integers(1, 256))
            try:
                assert decoder.decode(bytes(broken)).shape == (8, 8, 3)
            except ServingError as error:
                assert error.status in (415, 422)  # noqa: PT017


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "BMP", "EPS"])
def test_other_formats_never_reach_their_plugin(decoder, encode, kind):
    assert code_of(decoder, encode(kind)) == "unsupported_media_type"


@pytest.mark.parametrize("kind", FORMATS)
def test_only_the_sniffed_plugin_sees_the_bytes(decoder, encode, monkeypatch, kind):
    seen = []
    real = Image.open
    monkeypatch.setattr(Image, "open", lambda file, formats: seen.append(formats) or real(file, formats=formats))
    decoder.decode(encode(kind))
    assert seen == [(kind,)]


def test_empty_is_an_invalid_image(decoder):
    assert code_of(decoder, b"") == "invalid_image"


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_limit_above_pillow_s_own_is_kept_without_a_warning(bundle, bomb, recwarn):
    side = 9600  # 92 million pixels, of which Pillow warns; from 179 million on it refuses
    data = bomb(side)
    decoder = Decoder(bundle.preprocessing, max_pixels=side**2, threads=1, max_pending=1)
    assert decoder.decode(data).shape == (bundle.preprocessing.size, bundle.preprocessing.size, 3)
    with pytest.raises(ServingError, match=f"{side} x {side}"):
        Decoder(bundle.preprocessing, max_pixels=side**2 - 1, threads=1, max_pending=1).decode(data)
    assert not recwarn.list


@pytest.mark.parametrize("side", [13_000, 13_900])  # 169 Mpx warns in Pillow, 193 Mpx is Pillow's own error
def test_a_bomb_is_refused_before_it_is_decoded(decoder, bomb, side):
    data = bomb(side)
    started = time.perf_counter()
    assert code_of(decoder, data) == "invalid_image"
    assert time.perf_counter() - started < 0.1


@pytest.mark.parametrize(("size", "good"), [((1, 1), True), ((1, 100), True), ((1, 101), False), ((2000, 1), False)])
def test_the_aspect_ratio_is_limited(decoder, encode, size, good):
    data = encode("PNG", *size)
    if good:
        assert decoder.decode(data).shape == (8, 8, 3)
    else:
        assert code_of(decoder, data) == "invalid_image"


def progressive(scans, side=64):
    """A grey JPEG of many scans, of which all but the first add nothing."""

    def segment(marker, body):
        return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body

    blocks = (side // 8) ** 2
    head = segment(0xDB, b"\0" + bytes([1]) * 64) + segment(0xC2, struct.pack(">BHHB", 8, side, side, 1) + b"\1\x11\0")
    table = segment(0xC4, b"\x10" + bytes([1] + [0] * 15) + b"\xe0")  # of one code: 16384 blocks and more are empty
    empty = segment(0xDA, bytes([1, 1, 0, 1, 63, 0])) + bytes([0, 0b00111111])
    assert blocks <= 16384
    return b"\xff\xd8" + head + table + empty * scans + b"\xff\xd9"


def test_a_jpeg_of_many_scans_is_refused_before_it_is_decoded(decoder, monkeypatch):
    assert decoder.decode(progressive(MAX_SCANS)).shape == (8, 8, 3)
    # What a camera appends, a film for instance, holds any bytes.
    assert decoder.decode(progressive(2) + b"\xff\xda" * 1000).shape == (8, 8, 3)
    monkeypatch.setattr(Image, "open", None)
    with pytest.raises(ServingError, match=f"more than {MAX_SCANS} scans") as caught:
        decoder.decode(progressive(MAX_SCANS + 1))
    assert caught.value.code == "invalid_image"
    head, scans = progressive(MAX_SCANS + 1).split(b"\xff\xda", 1)
    # What follows is to be taken for the length of a segment, behind which the scans are not looked at.
    for marker in (*range(0xC0), *range(0xD0, 0xD9)):
        for length in (b"", b"\xfe\xfe"):
            with pytest.raises(ServingError, match=f"more than {MAX_SCANS} scans"):
                decoder.decode(head + bytes([0xFF, marker]) + length + b"\xff\xda" + scans)
    for tables in (b"\xff\xd8\xff\xd9", b"\xff\xd8\xff\xd9" * 9):  # which end before the picture begins
        with pytest.raises(ServingError, match=f"more than {MAX_SCANS} scans"):
            decoder.decode(tables + progressive(MAX_SCANS + 1))
    with pytest.raises(ServingError, match="more than 10000 segments"):
        decoder.decode(b"\xff\xd8" + b"\xff\xfe\0\2" * 10001)


def test_a_picture_that_is_being_decoded_keeps_its_permit_when_nobody_waits_any_more(decoder, monkeypatch):
    begun, release = threading.Semaphore(0), threading.Event()

    def decode(data):
        begun.release()
        release.wait(10)

    async def scenario():
        monkeypatch.setattr(decoder, "decode", decode)
        given_up = asyncio.ensure_future(decoder.decode_all([b"1", b"2", b"3", b"4"]))  # by two threads
        await asyncio.sleep(0)
        assert begun.acquire(timeout=10)
        assert begun.acquire(timeout=10)
        given_up.cancel()
        with suppress(asyncio.CancelledError):
            await given_up
        await asyncio.sleep(0)
        with pytest.raises(ServingError, match="2 images wait"):
            await decoder.decode_all([b"5", b"6", b"7"])
        release.set()
        await asyncio.sleep(0.2)
        await decoder.decode_all([b"8"] * 4)

    asyncio.run(scenario())


def test_a_bad_file_gives_its_error_in_its_place(decoder, encode):
    results = asyncio.run(decoder.decode_all([encode(), b"", encode(seed=1)]))
    assert isinstance(results[1], ServingError)
    np.testing.assert_array_equal(results[2], decoder.decode(encode(seed=1)))


def test_too_many_pending_are_refused_and_permits_come_back(decoder, encode, monkeypatch):
    release = threading.Event()

    async def scenario():
        monkeypatch.setattr(decoder, "decode", lambda data: release.wait(10))
        first = asyncio.ensure_future(decoder.decode_all([b"1", b"2", b"3"]))
        await asyncio.sleep(0.01)
        with pytest.raises(ServingError) as caught:
            await decoder.decode_all([b"4", b"5"])
        release.set()
        await first
        await decoder.decode_all([b""] * 4)
        return caught.value

    error = asyncio.run(scenario())
    assert (error.status, "Retry-After" in error.headers) == (503, True)


photograph = cache(photograph)  # some tests ask for the same


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_fast_is_within_a_few_grey_levels_of_exact_on_a_large_jpeg(fast, exact, mode):
    data = photograph(1600, 1200, mode)
    apart = np.abs(fast.decode(data).astype(int) - exact.decode(data))
    assert 0 < apart.max() <= 6
    assert apart.mean() < 1


def test_fast_decodes_a_part_of_the_pixels(fast, monkeypatch):
    sizes = []
    pixels = Preprocessing.pixels
    monkeypatch.setattr(Preprocessing, "pixels", lambda self, image: (sizes.append(image.size), pixels(self, image))[1])
    fast.decode(photograph(1600, 1200))
    assert sizes == [(800, 600)]  # twice 256 fits into a half and not into a quarter


@pytest.mark.parametrize("size", [(500, 375), (300, 900)])
def test_fast_is_exact_where_there_is_nothing_to_leave_out(fast, exact, size, encode):
    for data in (photograph(*size), encode("PNG", 1600, 1200)):
        np.testing.assert_array_equal(fast.decode(data), exact.decode(data))


@pytest.fixture
def exact():
    with closing(at_224("exact")) as decoder:
        yield decoder


@pytest.fixture
def fast():
    with closing(at_224("fast")) as decoder:
        yield decoder


def at_224(mode):
    preprocessing = Preprocessing(224, 0.875, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    return Decoder(preprocessing, max_pixels=2 * 10**7, threads=1, max_pending=4, mode=mode)
