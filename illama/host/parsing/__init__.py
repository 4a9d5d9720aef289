"""What a model's text is made of: answer, reasoning, and calls of tools, told apart while the text comes.

Pure: text goes in as it is generated, in pieces cut anywhere; what comes out does not depend on where it was cut.

    parser = Reasoning(Calls(grammars.hermes), opened=False)
    for piece in pieces:
        parts += parser.feed(piece)
    parts += parser.finish()
"""

from illama.host.parsing import grammars
from illama.host.parsing.calls import Calls
from illama.host.parsing.grammars import Grammar
from illama.host.parsing.parts import Arguments, Call, Parser, Part, Plain, Text, Thought
from illama.host.parsing.reasoning import Reasoning
from illama.host.parsing.style import Style, style_of
from illama.host.parsing.tags import Tags

__all__ = [
    "Arguments",
    "Call",
    "Calls",
    "Grammar",
    "Parser",
    "Part",
    "Plain",
    "Reasoning",
    "Style",
    "Tags",
    "Text",
    "Thought",
    "grammars",
    "style_of",
]
