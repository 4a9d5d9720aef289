"""Images in a chat: what is taken and refused, and how they are decoded. No model sees them here."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from support_host import RunningHost, fake_model, running_host

from illama.errors import RequestError


def png(width: int, height: int, data: bytes | None = None) -> bytes:
    """A black PNG file; with `data`, that instead of its points."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    points = zlib.compress(b"\0" * (width * 3 + 1) * height) if data is None else data
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", points) + chunk(b"IEND", b"")


def url(content: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    home = tmp_path_factory.mktemp("images")
    fake_model(home, "Sees", task="image-text-to-text")
    fake_model(home, "Blind")
    with running_host(home) as running:
        yield running


def ask(host: RunningHost, *parts: Any, model: str = "Sees") -> Any:
    def part(given: Any) -> dict[str, Any]:
        if isinstance(given, str) and given.startswith("text:"):
            return {"type": "text", "text": given[len("text:") :]}
        return {"type": "image_url", "image_url": given if isinstance(given, dict) else {"url": given}}

    message = {"role": "user", "content": [part(given) for given in parts]}
    return host.http.post("/v1/chat/completions", json={"model": model, "messages": [message]})


def test_images_stay_where_they_were_among_the_words(host):
    image = url(png(2, 2))
    body = ask(host, "text:before ", image, "text: between ", {"url": image}, "text: after").json()
    said = "before <ov_genai_image_0> between <ov_genai_image_1> after"
    assert body["choices"][0]["message"]["content"] == said
    assert body["usage"]["prompt_tokens"] == -(-len(said) // 4) + 2 * 16


def test_ollamas_images_reach_the_model_too(host):
    message = {"role": "user", "content": "what?", "images": [base64.b64encode(png(2, 2)).decode()]}
    body = host.http.post("/api/chat", json={"model": "Sees", "messages": [message], "stream": False}).json()
    assert body["message"]["content"] == "<ov_genai_image_0>what?"


def test_a_model_that_reads_text_only_says_so_before_it_is_loaded(host):
    answer = ask(host, url(png(2, 2)), "text:what?", model="Blind")
    assert answer.status_code == 400
    assert "needs a vision-language model" in answer.json()["error"]["message"]
    assert "Blind" not in [model["name"] for model in host.ps()]


@pytest.mark.parametrize(
    ("part", "status", "why"),
    [
        ("https://example.com/cat.png", 400, "fetches no images"),
        ("http://169.254.169.254/latest/meta-data", 400, "fetches no images"),
        ("file:///etc/passwd", 400, "fetches no images"),
        ("data:image/png,plain", 400, "not in base64"),
        ("data:image/png;base64,@@@", 400, "no valid base64"),
        (url(b"<svg onload=alert(1)>", "image/svg+xml"), 400, "no image that is known"),
        (url(b"RIFF0000WAVE"), 400, "no image that is known"),
        (url(b"\xff\xd8\xff" + b"0" * (20 * 2**20 + 1)), 413, "larger than 20 MiB"),
        ({"detail": "low"}, 400, "image_url.url is missing"),
    ],
)
def test_what_is_no_image_is_refused_by_its_place(host, part, status, why):
    answer = ask(host, "text:see:", part)
    assert answer.status_code == status
    assert why in answer.json()["error"]["message"]
    assert answer.json()["error"]["param"] == "messages[0].content[1]"


def test_the_number_of_images_is_bounded(host):
    image = url(png(1, 1))
    assert ask(host, *[image] * 16).status_code == 200
    assert "more than 16 images" in ask(host, *[image] * 17).json()["error"]["message"]


def decoded(content: bytes) -> Any:
    pytest.importorskip("PIL", reason="the engine's interpreter has pillow; this one may not")
    pytest.importorskip("openvino")
    from illama.engine.images import decode

    return decode(base64.b64encode(content).decode(), 0)


def saved(image: Any, kind: str, **how: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def test_an_image_becomes_rows_of_red_green_blue():
    tensor = decoded(png(3, 2))
    assert tuple(tensor.shape) == (1, 2, 3, 3)
    assert not tensor.data.any()


def test_every_kind_is_decoded_transparency_is_white_and_of_many_frames_the_first_counts():
    pil = pytest.importorskip("PIL.Image")
    red, clear = pil.new("RGB", (2, 2), "red"), pil.new("RGBA", (2, 2), (0, 0, 0, 0))
    for kind in ("PNG", "WEBP", "GIF", "JPEG"):
        assert decoded(saved(red, kind)).data[0, 0, 0].tolist()[0] > 240
    assert decoded(saved(clear, "PNG")).data.min() == 255
    frames = saved(red, "GIF", save_all=True, append_images=[pil.new("RGB", (2, 2), "blue")])
    assert decoded(frames).data[0, 0, 0].tolist() == [255, 0, 0]


def test_a_photograph_is_turned_as_its_camera_says():
    pil = pytest.importorskip("PIL.Image")
    exif = pil.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    assert tuple(decoded(saved(pil.new("RGB", (4, 2)), "JPEG", exif=exif)).shape) == (1, 4, 2, 3)


def test_a_bomb_is_refused_by_its_header_alone():
    with pytest.raises(RequestError, match="60000 x 60000 points"):
        decoded(png(60000, 60000, zlib.compress(b"")))


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\nrest", png(4, 4)[:45], png(4, 4, b"no points")])
def test_a_broken_file_is_refused(content):
    with pytest.raises(RequestError, match="cannot be decoded"):
        decoded(content)
