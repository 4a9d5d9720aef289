"""What `%config Illama` sets: this kernel's own choices, which a line's options override.

Knows: traitlets. Does not know: the settings of the environment (`illama.config`), which are the host's too.
"""

from __future__ import annotations

from traitlets import Bool, Float, Unicode
from traitlets.config import Configurable


class Illama(Configurable):
    """The choices of this kernel; `c.Illama.model = …` in `ipython_config.py` makes them for all."""

    model = Unicode("", help="The model that is asked where none is named; empty: the one loaded, or the newest.").tag(
        config=True
    )
    device = Unicode("", help="The device that it is asked for: CPU, GPU, GPU.1, NPU, AUTO; empty: the host's.").tag(
        config=True
    )
    temperature = Float(
        None, min=0, max=2, allow_none=True, help="0 is the likeliest word, always; None: the model's own."
    ).tag(config=True)
    stream = Bool(True, help="Whether answers are shown while they are written.").tag(config=True)
    stamp = Bool(
        False, help="Whether an answer's output carries what made it (model, revision, recipe, sampling, seed)."
    ).tag(config=True)
