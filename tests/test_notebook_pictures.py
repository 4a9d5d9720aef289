"""Pictures that go into a question."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest

from illama.errors import RequestError
from illama.notebook.pictures import data_url

DOT = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def content(url: str) -> bytes:
    assert url.startswith("data:image/png;base64,")
    return base64.b64decode(url.partition(",")[2])


def opened(url: str) -> Any:
    image = pytest.importorskip("PIL.Image")
    return image.open(io.BytesIO(content(url)))


def test_a_file_is_sent_as_it_is(tmp_path: Path):
    path = tmp_path / "dot.png"
    path.write_bytes(DOT)
    assert content(data_url(path, "p")) == content(data_url(str(path), "p")) == content(data_url(DOT, "p")) == DOT


def test_a_data_url_is_sent_as_it_is():
    assert data_url("data:image/webp;base64,AAAA", "p") == "data:image/webp;base64,AAAA"


@pytest.mark.parametrize(
    ("start", "kind"),
    [(b"\xff\xd8\xff\xe0", "jpeg"), (b"GIF89a", "gif"), (b"RIFF\0\0\0\0WEBP", "webp")],
)
def test_the_kind_of_a_file_is_what_it_begins_with(start: bytes, kind: str):
    assert data_url(start + b"rest", "p").startswith(f"data:image/{kind};base64,")


@pytest.mark.parametrize("picture", [b"%PDF", b"BM", b"", 3, {"a": 1}, "/no/such/file.png", "http://x.example/a.png"])
def test_what_is_no_picture_is_an_error_with_a_hint(picture: Any):
    with pytest.raises(RequestError) as caught:
        data_url(picture, "p")
    assert caught.value.hint


def test_what_shows_itself_as_png_is_a_picture():
    class Shows:
        def _repr_png_(self) -> tuple[str, dict[str, int]]:
            return base64.b64encode(DOT).decode(), {"width": 1}

    assert content(data_url(Shows(), "p")) == DOT


def test_an_array_of_colours_keeps_its_points():
    numpy = pytest.importorskip("numpy")
    points = numpy.arange(2 * 3 * 3, dtype="uint8").reshape(2, 3, 3) * 10
    assert (numpy.asarray(opened(data_url(points, "p"))) == points).all()


def test_an_array_from_zero_to_one_is_grey():
    numpy = pytest.importorskip("numpy")
    image = opened(data_url(numpy.array([[0.0, 0.5], [1.0, 7.0]]), "p"))
    assert (image.mode, list(image.tobytes())) == ("L", [0, 128, 255, 255])


@pytest.mark.parametrize("shape", [(3,), (2, 2, 2), (2, 2, 3, 1), (0, 4)])
def test_an_array_that_is_no_picture_names_its_shape(shape: tuple[int, ...]):
    numpy = pytest.importorskip("numpy")
    with pytest.raises(RequestError, match="shape"):
        data_url(numpy.zeros(shape), "p")


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "CMYK", "F"])
def test_an_image_of_pil_is_a_picture_in_any_mode(mode: str):
    image = pytest.importorskip("PIL.Image")
    assert opened(data_url(image.new(mode, (3, 2)), "p")).size == (3, 2)


def test_a_figure_and_its_axes_are_pictures():
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2, 1), dpi=50)
    axes = figure.subplots()
    axes.plot([1, 2])
    assert opened(data_url(figure, "p")).size == opened(data_url(axes, "p")).size
