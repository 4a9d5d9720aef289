"""Which slot of a device a request goes to: one slot for each kind of model, or as many as fit.

Knows: slots and what is said of the device's memory. Does not know: how much memory there is, engines, the clock.

"One model at a time" keeps large models from fighting over a device. An embedding or a rerank model is small beside the
language model that it works for, and a question with retrieval needs all three: if they had to share one slot, each
question would unload and load them in turn. So each kind has a slot of its own while the memory has room for both, and
shares the other's slot, where the usual rules say who waits for whom, while it has not.
"""

from __future__ import annotations

from collections.abc import Sequence

from illama.engine.protocol import ENCODER_TASKS
from illama.host.scheduler import Slot, State


def lane(task: str) -> str:
    """The kind of model that has a slot to itself: what generates, what embeds, what reranks."""
    return task if task in ENCODER_TASKS else "generation"


def default_device(task: str) -> str | None:
    """Where a model of this task goes that is pinned to no device; None: where all others go.

    Embedding and rerank models leave the GPU to the language model.
    """
    return "CPU" if task in ENCODER_TASKS else None


def is_open(slot: Slot) -> bool:
    """Whether a slot holds nothing and nobody waits for it."""
    return slot.state is State.EMPTY and not slot.waiting


def choose_lane(slots: Sequence[Slot], own: Slot | None, model: str, *, fits: bool) -> Slot | None:
    """The slot to queue in where each kind of model has one; None: open one for this kind.

    `own` is this kind's slot if there is one, `fits` whether the model has room beside what is loaded.
    """
    for slot in slots:
        if slot.model == model or any(ticket.model == model for ticket in slot.waiting.values()):
            return slot
    others = [slot for slot in slots if slot is not own and not is_open(slot)]
    if fits or not others or (own is not None and not is_open(own)):
        return own
    return min(others, key=lambda slot: (not is_idle(slot), len(slot.waiting), slot.last_end))


def choose(slots: Sequence[Slot], model: str, *, fits: bool) -> Slot | None:
    """The slot to queue in; None: open a new one. `fits` says whether the model has room beside what is loaded.

    A model is in one slot of a device at most. Where it has no room, it queues behind the model that was used longest
    ago, an idle one if there is: that slot's own rules then say when the other has to go.
    """
    for slot in slots:
        if slot.model == model or any(ticket.model == model for ticket in slot.waiting.values()):
            return slot
    for slot in slots:
        if is_open(slot):
            return slot
    if fits or not slots:
        return None
    return min(slots, key=lambda slot: (not is_idle(slot), len(slot.waiting), slot.last_end))


def evictable(slots: Sequence[Slot]) -> Slot | None:
    """The loaded model that may go at once to make room: the idle one that was used longest ago; None if none is."""
    return min((slot for slot in slots if is_idle(slot)), key=lambda slot: slot.last_end, default=None)


def is_idle(slot: Slot) -> bool:
    """Whether a model is loaded that nobody uses or waits for."""
    return slot.state is State.READY and not slot.running and not slot.waiting
