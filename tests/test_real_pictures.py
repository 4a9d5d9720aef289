"""Pictures in a cell's question, through a real kernel, to a vision-language model of random weights."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager
from support_checkpoints import ir, tiny_vlm
from support_kernels import end_host, environment, run_cell, texts

pytestmark = pytest.mark.slow

MAKE = """
import matplotlib; matplotlib.use("agg")
import matplotlib.pyplot as plt, numpy, PIL.Image
figure, axes = plt.subplots(figsize=(2, 2)); axes.plot([1, 3, 2])
image = PIL.Image.new("RGB", (60, 40), "red")
array = numpy.zeros((50, 70, 3), "uint8")
image.save("picture.jpg")
"""


@pytest.fixture
def kernel(home: Path, tmp_path: Path) -> Iterator[Any]:
    for package in ("matplotlib", "numpy", "PIL"):
        pytest.importorskip(package)
    shutil.copytree(ir(tiny_vlm()), home / "registry" / "model")
    env = environment(home, ILLAMA_DEVICE="CPU")
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(env=env, cwd=str(tmp_path))
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    try:
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()
        end_host(env)


def errors(messages: list[tuple[str, dict[str, Any]]]) -> list[Any]:
    return [content["traceback"] for kind, content in messages if kind == "error"]


def test_a_figure_an_image_an_array_and_a_file_are_seen(kernel: Any):
    assert errors(run_cell(kernel, f"%load_ext illama\n{MAKE}")) == []
    read = {}
    for given in ("", "--image figure", "--image image", "--image array", "--image picture.jpg --image image"):
        messages = run_cell(kernel, f"%%illama model -t 0 -n 4 -o reply {given}\nWhat is it?")
        assert errors(messages) == []
        read[given] = int(*texts(run_cell(kernel, "reply.usage['prompt_tokens']"), "execute_result"))
    words, figure, *others = read.values()
    one = figure - words
    assert one > 0
    assert [count - words for count in others] == [one, one, 2 * one]
