"""Other people's clients, unchanged, against real small models: whole, streamed, structured, tool and embedding calls.

    python tests/long/clients.py [--only openai,ollama] [--embedding FOLDER]

`openai` for Python and for Node, `ollama`, LangChain, LiteLLM, LlamaIndex and `llm`, in an environment of their own
without illama; what they check is in tests/long/clients/. Node's part is left out, and said to be, where npm is not.
Ten minutes, most of which pip takes; ILLAMA_TEST_CACHE keeps the environments and the models. `--embedding` is a folder
with an embedding model in OpenVINO's format, to be used in the place of all-MiniLM-L6-v2, which has to be converted.
Exit code 1 if any check failed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support_host import RunningHost, fake_model, running_host  # noqa: E402 - found by the path above
from support_models import real_model_cache, run_pull  # noqa: E402
from support_venvs import environment  # noqa: E402

CHECKS = Path(__file__).with_name("clients")
PACKAGES = [
    "pytest>=8",
    "openai>=1.60",
    "ollama>=0.5",
    "langchain-openai>=0.3",
    "langchain-ollama>=0.3",
    "litellm>=1.60",
    "mcp",  # which LiteLLM imports as soon as there are tools, without asking for it
    "llama-index-llms-openai-like>=0.4",
    "llama-index-llms-ollama>=0.6",
    "llama-index-embeddings-openai-like>=0.1",
    "llm>=0.26",
]
NODE_PACKAGES = ["openai@^6"]
PYTHON = ("openai", "ollama", "langchain", "litellm", "llamaindex", "llm")
CHAT, EMBED = "SmolLM2-135M-Instruct", "all-MiniLM-L6-v2"
# A template that knows tools, and an answer that calls one, as Hermes' models write it.
TEMPLATE = "{% for tool in tools %}<tool_call>{{ tool }}</tool_call>{% endfor %}"
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>'


def install(home: Path, embedding: Path | None) -> None:
    """Put both real models into a home."""
    home.mkdir(mode=0o700)
    shutil.copytree(real_model_cache() / "registry", home / "registry")
    if embedding is None:
        import support_checkpoints as checkpoints  # making it takes a converter's environment

        embedding = checkpoints.ir(checkpoints.minilm())
    last = run_pull({"source": str(embedding), "name": EMBED}, home)[-1]
    assert last.get("status") == "success", last


def told(real: RunningHost, fake: RunningHost) -> dict[str, str]:
    """The variables by which the checks find the hosts; nothing of the user's own keys and settings is among them."""
    kept = {key: os.environ[key] for key in ("PATH", "LANG", "TMPDIR", "SYSTEMROOT") if key in os.environ}
    hosts = {"REAL_URL": real.url, "REAL_KEY": real.key, "FAKE_URL": fake.url, "FAKE_KEY": fake.key}
    return {**kept, **hosts, "REAL_CHAT": CHAT, "REAL_EMBED": EMBED, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}


def check_python(variables: dict[str, str], which: list[str], scratch: Path) -> bool:
    """Run the checks of the Python clients."""
    files = [str(CHECKS / f"check_{name}.py") for name in which]
    command = [
        environment(*PACKAGES) / "python",
        "-m",
        "pytest",
        "-q",
        "--tb=short",
        "-p",
        "no:cacheprovider",
        "-c",
        os.devnull,
    ]
    command += [f"--rootdir={CHECKS}", f"--confcutdir={CHECKS}", *files]
    return subprocess.run(command, env={**variables, "HOME": str(scratch)}, cwd=scratch).returncode == 0


def check_node(variables: dict[str, str], scratch: Path) -> bool:
    """Run the checks of the Node client, in a folder with its packages."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if not npm or not node:
        print("openai for Node: left out, there is no Node here")
        return True
    subprocess.run([npm, "install", "--silent", "--no-fund", "--no-audit", *NODE_PACKAGES], cwd=scratch, check=True)
    shutil.copy(CHECKS / "check_openai.mjs", scratch)
    return subprocess.run([node, "--test", "check_openai.mjs"], env=variables, cwd=scratch).returncode == 0


def main() -> int:
    """Run it all; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join((*PYTHON, "node")), help="names, separated by commas")
    parser.add_argument("--embedding", type=Path, help="an embedding model in OpenVINO's format")
    args = parser.parse_args()
    chosen = args.only.split(",")
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        real, fake = scratch / "real", scratch / "fake"
        install(real, args.embedding)
        fake.mkdir(mode=0o700)
        fake_model(fake, "caller", chat_template=TEMPLATE, text=CALL)
        settings = {"ILLAMA_ENGINE": "openvino", "ILLAMA_ONE_MODEL": "0"}
        with running_host(real, **settings) as one, running_host(fake) as other:
            variables = told(one, other)
            held = check_python(variables, [name for name in PYTHON if name in chosen], scratch)
            if "node" in chosen:
                held &= check_node(variables, scratch)
    print("all clients are served" if held else "SOMETHING FAILED")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
