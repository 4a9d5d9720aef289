"""What a Hugging Face checkpoint is: which of its files are needed, what the model is for, what of it must be kept.

Knows: the files of transformers and of sentence-transformers, safetensors and pickles, architectures' names. Does not
know: where the files are (a hub or a folder), or how they are converted.

Nothing is unpickled, and no code of a repository is run: its names and its small JSON files tell enough.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Any

from illama.errors import PullError
from illama.pull import pooling
from illama.registry.names import shown

TASKS = ("text-generation", "embedding", "rerank", "image-text-to-text")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
# What is read of a checkpoint before anything else of it is fetched: small files, all of them JSON.
_FIRST: tuple[str, ...] = (
    "config.json",
    "tokenizer_config.json",
    "processor_config.json",
    "preprocessor_config.json",
    "model.safetensors.index.json",
    *pooling.FILES,
)
_MAX_FIRST = 32 << 20  # bytes; the biggest of them, a huge model's index of its weights, stays below 10 MB
# The files of tokenizers and processors, and the licence. All lie beside the configuration.
_WELCOME: tuple[str, ...] = (
    "config.json",
    "generation_config.json",
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "*.model",
    "*.tiktoken",
    "chat_template.*",
    "*processor_config.json",
    "LICENSE*",
    "NOTICE*",
)
_DTYPE_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}
_CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "n_ctx")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that can be converted.

    `base` is the folder of the model itself, "" or with a `/` at its end; `files` are the paths that are needed, those
    in `weights` among them. `parameters` is counted from the weights' size; `options` are for the registry's entry;
    `dimensions` are the lengths that groups of weights must divide.
    """

    task: str
    architecture: str | None
    base: str
    files: tuple[str, ...]
    weights: tuple[str, ...]
    size: int
    parameters: int
    context_length: int | None
    dimensions: tuple[int, ...]
    remote_code: bool
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def bytes_in_16_bits(self) -> int:
        """What the weights take in 16 bits each, as they are exported."""
        return 2 * self.parameters


def looks_like_one(names: Mapping[str, int]) -> bool:
    """Whether these files, by path with their sizes, may be a checkpoint's: there are weights, in whatever form."""
    return any(name.endswith((".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack")) for name in names)


def first(names: Mapping[str, int]) -> list[str]:
    """The small files to read before anything is decided."""
    return [
        name
        for name, size in names.items()
        if size <= _MAX_FIRST and any(fnmatch(name, each) for each in _FIRST) and not name.endswith("tokenizer.json")
    ]


def read(
    label: str, names: Mapping[str, int], load: Callable[[str], Mapping[str, Any] | list[Any]], *, trusted: bool
) -> Checkpoint:
    """What the checkpoint `label` is. `load` gives a small file's JSON, {} for one that is not there.

    `trusted` says that the user has asked for the code that the checkpoint may bring. Raises PullError.
    """
    modules = pooling.modules(load("modules.json"))
    base = modules[0].folder if modules else ""
    here = {name.removeprefix(base): size for name, size in names.items() if name.startswith(base)}
    weights = _weights(label, here, _mapping(load(f"{base}model.safetensors.index.json")))
    config = _mapping(load(f"{base}config.json"))
    kind = config.get("model_type")
    if not config or not isinstance(kind, str):
        raise _unusable(label, "its config.json is missing or says nothing", "Use another repository of that model.")
    code = _remote_code(label, [base + each for each in _FIRST[:4]], load, trusted=trusted)
    _refuse_what_is_quantized(label, config)
    task = _task(label, config, here, modules)
    options = pooling.options(label, modules, load, base) if task == "embedding" else {}
    wanted = [name for name in here if "/" not in name and any(fnmatch(name, each) for each in _WELCOME)]
    if code:
        wanted += [name for name in here if name.endswith(".py") and "/" not in name]
    files = sorted({base + name for name in (*wanted, *weights)} | ({"modules.json"} & names.keys()))
    size = sum(names[base + name] for name in weights)
    text = _text_config(config)
    return Checkpoint(
        task=task,
        architecture=kind,
        base=base,
        files=tuple(files),
        weights=tuple(base + name for name in weights),
        size=sum(names[name] for name in files),
        parameters=size // _DTYPE_BYTES.get(_dtype(config, text), 4),
        context_length=next((text[key] for key in _CONTEXT_KEYS if isinstance(text.get(key), int)), None),
        dimensions=_dimensions(text),
        remote_code=code,
        options=options,
    )


def _remote_code(
    label: str, files: list[str], load: Callable[[str], Mapping[str, Any] | list[Any]], *, trusted: bool
) -> bool:
    """Whether it brings code of its own. Raises PullError if it does and nobody has asked for it."""
    having = [file for file in files if _mapping(load(file)).get("auto_map")]
    if having and not trusted:
        raise PullError(
            f"{label} brings code of its own (auto_map in {having[0]}), which would run on this machine. "
            "Nothing of it was run.",
            hint="Read that code; if you trust it, pull with --trust-remote-code. "
            "A repository that is OpenVINO already (OpenVINO/…) or a GGUF file needs none.",
            status=400,
        )
    return bool(having)


def _refuse_what_is_quantized(label: str, config: Mapping[str, Any]) -> None:
    quantized = config.get("quantization_config")
    method = quantized.get("quant_method") if isinstance(quantized, dict) else None
    if quantized and method != "mxfp4":  # this one optimum-intel knows how to undo
        raise _unusable(
            label,
            f"its weights are quantized already ({shown(str(method))})",
            "Pull the repository with the original weights; --weight-format makes them small.",
        )


def _weights(label: str, here: Mapping[str, int], index: Mapping[str, Any]) -> list[str]:
    """The files with the weights: one, or the shards that the index names. Never a pickle."""
    if "model.safetensors" in here:
        return ["model.safetensors"]
    listed = index.get("weight_map")
    if isinstance(listed, dict) and listed:
        shards = sorted({str(each) for each in listed.values()})
        lacking = [name for name in shards if name not in here or "/" in name]
        if lacking:
            raise _unusable(label, f"{shown(lacking[0])} is missing", "Use another repository of that model.")
        return shards
    if "adapter_config.json" in here:
        raise _unusable(label, "it is an adapter (LoRA) and not a model", "Pull the model that it was made for.")
    if any(fnmatch(name, each) for name in here for each in _PICKLES):
        raise _unusable(
            label,
            "it has its weights as pickles alone, which run whatever code somebody put into them",
            "Use a repository with .safetensors files.",
        )
    raise _unusable(label, "it has no model.safetensors", "Use another repository of that model.")


def _task(label: str, config: Mapping[str, Any], here: Mapping[str, int], modules: tuple[pooling.Module, ...]) -> str:
    names = config.get("architectures")
    architecture = str(names[0]) if isinstance(names, list) and names else ""
    if modules and not any(each.kind == "LogitScore" for each in modules):
        return "embedding"
    if architecture.endswith("ForSequenceClassification"):
        labels = config.get("id2label")
        count = len(labels) if isinstance(labels, dict) else config.get("num_labels", 2)
        if count == 1:
            return "rerank"
        raise _unusable(label, f"it is a classifier with {count} labels", "Only those with one label rank texts.")
    if "vision_config" in config or (
        "preprocessor_config.json" in here
        and architecture.endswith(("ForConditionalGeneration", "ForCausalLM", "ChatModel"))
    ):
        return "image-text-to-text"
    if architecture.endswith(("ForCausalLM", "LMHeadModel")):
        return "text-generation"
    if architecture.endswith("Model") and not config.get("is_encoder_decoder"):
        return "embedding"
    raise _unusable(
        label,
        f"it is a {shown(architecture or 'model of unknown kind')}",
        "illama runs models for text generation, embeddings, reranking, and for images with text.",
    )


def _text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    for key in ("text_config", "llm_config", "language_config"):
        if isinstance(config.get(key), dict):
            return {**config, **config[key]}
    return config


def _dtype(config: Mapping[str, Any], text: Mapping[str, Any]) -> str:
    found = (each.get(key) for each in (config, text) for key in ("dtype", "torch_dtype"))
    return next((name for name in found if isinstance(name, str)), "float32")


def _dimensions(text: Mapping[str, Any]) -> tuple[int, ...]:
    """The input lengths of the big matrices: groups of weights lie along these."""

    def number(key: str) -> int:
        value = text.get(key)
        return value if isinstance(value, int) and value > 0 else 0

    heads = number("num_attention_heads")
    head = number("head_dim") or (number("hidden_size") // heads if heads else 0)
    found = (number("hidden_size"), number("intermediate_size"), number("moe_intermediate_size"), heads * head)
    return tuple(sorted({each for each in found if each}))


def _mapping(data: object) -> Mapping[str, Any]:
    return data if isinstance(data, dict) else {}


def _unusable(label: str, why: str, hint: str) -> PullError:
    return PullError(f"{label} cannot be used as a model: {why}.", hint=hint, status=400)
