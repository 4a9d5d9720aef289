"""Which files of a repository make a model that can run, or why none do.

Knows: what repositories with OpenVINO IR and with GGUF files look like. Does not know: how files are fetched.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from illama.errors import PullError
from illama.pull import checkpoint, gguf, local, pooling, recipes
from illama.pull.hub import Listing, RemoteFile
from illama.pull.repos import HubRepo
from illama.registry.names import shown, suggest

_SPLIT = re.compile(r"-\d{5}-of-\d{5}$")
_QUANT = re.compile(r"(?:^|[.\-_])((?:UD-)?(?:I?Q\d\w*|TQ\d\w*|B?F16|F32|FP16|MXFP4\w*))$", re.IGNORECASE)
# Kinds of weights that GenAI's reader does not know, by the names that files of them have.
_UNREADABLE = re.compile(r"(?:UD-)?(?:Q[235]|IQ|TQ|MXFP)", re.IGNORECASE)
_IR_SUFFIX = re.compile(r"-(?:int[48]|fp16|fp32|nf4)-ov$", re.IGNORECASE)
_GGUF_SUFFIX = re.compile(r"[-_.](?:i1-)?gguf$", re.IGNORECASE)


@dataclass(frozen=True)
class Selection:
    """The files to fetch, and the one of them that holds the weights: OpenVINO's (`ir`) or a GGUF file of a `quant`.

    `small` are files that are read and not kept: they say how an embedding model's vectors are made.

    `alone` says that the repository has no other model in it.
    """

    files: tuple[RemoteFile, ...]
    weights: RemoteFile
    ir: bool
    quant: str | None = None
    alone: bool = True
    small: tuple[RemoteFile, ...] = ()

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(file.size for file in self.files)


def select(listing: Listing, wanted: HubRepo) -> Selection | None:
    """Choose the files: OpenVINO IR where there is some, a GGUF file where one is meant; None: it is a checkpoint.

    Raises PullError.
    """
    names = [file.name for file in listing.files]
    weights = local.weights_of(names)
    if not wanted.quant and not wanted.file and weights:
        lacking = local.lacking(name for name in names if "/" not in name)
        if lacking:
            raise unusable(listing, f"{lacking[0]} is missing", "Use another repository of that model.")
        files = tuple(file for file in listing.files if local.is_wanted(file.name))
        small = tuple(file for file in listing.files if pooling.is_told_by(file.name) and file not in files)
        chosen = next(file for file in files if file.name == weights)
        return _checked(listing, Selection(files, chosen, ir=True, small=small))
    every = [file for file in listing.files if file.name.lower().endswith(".gguf")]
    found = [file for file in every if "mmproj" not in file.name.lower()]  # that is the half that sees pictures
    sizes = {file.name: file.size for file in listing.files}
    is_checkpoint = checkpoint.looks_like_one(sizes) and (not found or any(n.endswith(".safetensors") for n in names))
    if is_checkpoint and not wanted.file and (wanted.quant or "").lower() in {"", *_formats(found)}:
        return None
    if found:
        chosen = _pick(listing, wanted, found)
        return _checked(
            listing, Selection((chosen,), chosen, ir=False, quant=quant_of(chosen.name), alone=len(found) == 1)
        )
    raise _nothing(listing, wanted)


def _formats(found: list[RemoteFile]) -> set[str]:
    """The weight formats that `org/repo:int8` may ask for; a GGUF file of that name is meant first."""
    return {*recipes.WEIGHT_FORMATS} - {(quant_of(file.name) or "").lower() for file in found}


def base_name(listing: Listing, selection: Selection | None) -> str:
    """What the model is called here: `OpenVINO/Qwen3-8B-int4-ov` and `Qwen/Qwen3-8B-GGUF` are both `Qwen3-8B`."""
    last = listing.repo.partition("/")[2]
    if selection is None:
        return suggest(last)
    return suggest((_IR_SUFFIX if selection.ir else _GGUF_SUFFIX).sub("", last) or last)


def quant_of(name: str) -> str | None:
    """The quantization that a GGUF file's name speaks of: `x/Phi-4-Q4_K_M.gguf` is `Q4_K_M`."""
    found = _QUANT.search(name.rpartition("/")[2][: -len(".gguf")])
    return found[1] if found else None


def _pick(listing: Listing, wanted: HubRepo, found: list[RemoteFile]) -> RemoteFile:
    whole = [file for file in found if not _SPLIT.search(file.name[: -len(".gguf")])]
    if not whole:
        raise unusable(listing, "its GGUF files are split into parts", "Use a repository with whole files.")
    if wanted.file:
        matching = [file for file in whole if file.name == wanted.file]
    elif wanted.quant:
        matching = [file for file in whole if (quant_of(file.name) or "").lower() == wanted.quant.lower()]
    else:
        matching = whole
    if len(matching) == 1:
        quant = quant_of(matching[0].name)
        if quant and _UNREADABLE.match(quant):
            raise unusable(listing, f"OpenVINO GenAI cannot read {quant}", f"{gguf.READABLE} {_list(listing, whole)}")
        return matching[0]
    if wanted.file:
        what = f"has no GGUF file {shown(wanted.file)}"
    elif wanted.quant and not matching:
        what = f"has no GGUF file of {shown(wanted.quant)}"
    elif wanted.quant:
        what = f"has {len(matching)} GGUF files of {shown(wanted.quant)}"
    else:
        what = f"has {len(whole)} GGUF files"
    raise PullError(f"{listing.repo} {what}.", hint=_list(listing, whole), status=400)


def _list(listing: Listing, files: list[RemoteFile]) -> str:
    quants = [quant_of(file.name) for file in files]
    lines = []
    for file, quant in zip(files, quants, strict=True):
        once = quant and quants.count(quant) == 1
        lines.append(
            f"{listing.repo}:{quant}" if once else f"https://huggingface.co/{listing.repo}/blob/main/{file.name}"
        )
    more = f" and {len(lines) - 40} more" if len(lines) > 40 else ""
    return f"Pull one of: {', '.join(lines[:40])}{more}."


def _nothing(listing: Listing, wanted: HubRepo) -> PullError:
    if wanted.quant or wanted.file:
        return unusable(listing, "it has no GGUF files", "Pull it by its bare name.")
    return unusable(
        listing,
        "it holds neither OpenVINO IR, nor a GGUF file, nor a checkpoint",
        "Check that it is a model for text, for embeddings, or for images with text.",
    )


def _checked(listing: Listing, selection: Selection) -> Selection:
    if not selection.weights.sha256:
        raise unusable(listing, f"the hub gives no checksum of {selection.weights.name}", "Use another repository.")
    return selection


def unusable(listing: Listing, why: str, hint: str) -> PullError:
    """The error for a repository that is no model."""
    return PullError(f"{listing.repo} cannot be used as a model: {why}.", hint=hint, status=400)
