"""Which slot of a device a request goes to, where several models may be loaded side by side.

Knows: slots and what is said of the device's memory. Does not know: how much memory there is, engines, the clock.
"""

from __future__ import annotations

from collections.abc import Sequence

from illama.host.scheduler import Slot, State


def choose(slots: Sequence[Slot], model: str, *, fits: bool) -> Slot | None:
    """The slot to queue in; None: open a new one. `fits` says whether the model has room beside what is loaded.

    A model is in one slot of a device at most. Where it has no room, it queues behind the model that was used longest
    ago, an idle one if there is: that slot's own rules then say when the other has to go.
    """
    for slot in slots:
        if slot.model == model or any(ticket.model == model for ticket in slot.waiting.values()):
            return slot
    for slot in slots:
        if slot.state is State.EMPTY and not slot.waiting:
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
