"""A script, run by the converter's interpreter: make OpenVINO IR of a Hugging Face checkpoint with optimum-intel.

Knows: optimum-intel, and to try the next recipe when one fails. Does not know: anything of illama, which that
interpreter does not have; which recipes are good.

    python checkpoint_to_ir.py JOB.json

The job has "source" (the checkpoint's folder), "work" and "output" (empty folders), "task" (optimum's name of it),
"trust_remote_code", "recipes", "tuned_for" (a repository's name or null), "status" and "result" (files to write). A
recipe is {"name", "weight_format", "options"}; options are those of optimum's OVWeightQuantizationConfig, null for
weights that are not compressed. The status file has what is going on in one line; the result is {"recipe", "failed",
"versions"}. Ends when its stdin does: then nobody waits for it.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import sys
import threading
import traceback
from importlib import metadata
from pathlib import Path
from typing import Any

_CLASSES = {
    "text-generation-with-past": "OVModelForCausalLM",
    "feature-extraction": "OVModelForFeatureExtraction",
    "text-classification": "OVModelForSequenceClassification",
    "image-text-to-text": "OVModelForVisualCausalLM",
}
_PACKAGES = ("openvino", "openvino-tokenizers", "optimum-intel", "nncf", "torch", "transformers")
# What a tuned recipe says of calibration: it needs texts from the hub, and hours.
_DATA = ("dataset", "scale_estimation", "gptq", "lora_correction", "num_samples")


def _end_with_stdin() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


def main(job_file: str) -> None:
    """Do the job. Whatever goes wrong is an exception on stderr and an exit code."""
    # A script's own folder comes first on the path, and its modules are not the ones that the libraries want.
    here = Path(__file__).resolve().parent
    sys.path[:] = [each for each in sys.path if not each or Path(each).resolve() != here]
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    # Nothing is sent to anybody, and nothing more is fetched: all that is needed lies in the source's folder.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    job = json.loads(Path(job_file).read_bytes())
    recipes = [*_tuned(job), *job["recipes"]]
    _tell(job, "reading the model")
    exported = Path(job["work"])
    _export(job, recipes[0], exported)
    failed: list[dict[str, str]] = []
    for recipe in recipes:
        _tell(job, f"making {recipe['weight_format']}" + (f" ({recipe['name']})" if failed else ""))
        try:
            made = _compress(job, recipe, exported)
        except MemoryError:
            raise
        except Exception as problem:
            traceback.print_exc()
            said = " ".join(str(problem).split()) or type(problem).__name__
            failed.append({"recipe": recipe["name"], "reason": said[:300]})
            if recipe is recipes[-1]:
                raise
            shutil.rmtree(job["output"])
            Path(job["output"]).mkdir()
            gc.collect()
        else:
            _finish(Path(job["source"]), exported, made, Path(job["output"]))
            break
    result = {"recipe": recipe, "failed": failed, "versions": _versions()}
    Path(job["result"]).write_text(json.dumps(result, default=str), encoding="utf-8")


def _tell(job: dict[str, Any], status: str) -> None:
    part = Path(f"{job['status']}.part")
    part.write_text(status, encoding="utf-8")
    part.replace(job["status"])


def _tuned(job: dict[str, Any]) -> list[dict[str, Any]]:
    """The recipe that optimum's makers found for this very model, if 4 bits are wanted and there is one."""
    first = job["recipes"][0]
    if not job["tuned_for"] or first["weight_format"] != "int4":
        return []
    try:
        from optimum.intel.openvino.configuration import get_default_quantization_config

        found = get_default_quantization_config(job["tuned_for"], weight_format="int4")
    except (ImportError, TypeError):  # an optimum of another age, in an environment of the user's own
        return []
    # Some are objects, or tell of each part of a model: these are not plain options.
    if not isinstance(found, dict) or "quantization_configs" in found or not {"bits", "sym"} <= found.keys():
        return []
    options = {key: value for key, value in found.items() if key not in _DATA}
    options["quant_method"] = str(getattr(found.get("quant_method"), "value", found.get("quant_method") or "default"))
    name = f"tuned-{job['tuned_for'].rpartition('/')[2]}" + ("-without-data" if options.keys() != found.keys() else "")
    return [{"name": name, "weight_format": "int4", "options": options}]


def _export(job: dict[str, Any], recipe: dict[str, Any], folder: Path) -> None:
    """The model as IR, its weights in 16 bits, with its tokenizer."""
    from optimum.exporters.openvino import main_export
    from optimum.intel.openvino.configuration import OVConfig

    # A dtype is always given: without one, optimum compresses big models by itself.
    main_export(
        job["source"],
        output=folder,
        task=job["task"],
        library_name="transformers",
        trust_remote_code=job["trust_remote_code"],
        ov_config=OVConfig(dtype="fp16"),
        convert_tokenizer=True,
    )
    gc.collect()


def _compress(job: dict[str, Any], recipe: dict[str, Any], exported: Path) -> Path:
    """The folder with the model's weights as the recipe wants them."""
    if recipe["options"] is None:
        return exported
    import optimum.intel

    output = Path(job["output"])
    model = getattr(optimum.intel, _CLASSES[job["task"]]).from_pretrained(
        exported,
        quantization_config=dict(recipe["options"]),
        compile=False,
        trust_remote_code=job["trust_remote_code"],
    )
    model.save_pretrained(output)
    del model
    gc.collect()
    return output


def _finish(source: Path, exported: Path, made: Path, output: Path) -> None:
    """Bring what the compression does not write (tokenizer, templates) to the output as well."""
    for path in sorted(exported.iterdir()):
        if made == exported or not (output / path.name).exists():
            path.replace(output / path.name)
    # GenAI reads how pictures are prepared from a file that transformers 5 no longer writes; without it, it assumes the
    # sizes of another model, and fails at the first picture.
    pictures, processor = output / "preprocessor_config.json", output / "processor_config.json"
    if not pictures.exists() and (source / pictures.name).exists():
        shutil.copyfile(source / pictures.name, pictures)
    elif not pictures.exists() and processor.exists():
        known = json.loads(processor.read_bytes()).get("image_processor")
        if known:
            pictures.write_text(json.dumps(known), encoding="utf-8")


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name.replace("-", "_")] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
