from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from illama.notebook.neutral import as_html, entities, markdown, plain

mistune = pytest.importorskip("mistune")  # the renderer of nbconvert, which JupyterLab brings

PLAIN_TAGS = {"p", "pre", "code", "em", "strong", "del", "a", "ul", "ol", "li", "blockquote", "hr", "br"}
PLAIN_TAGS |= {"h1", "h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "td", "th"}
PIECES = [
    *("`", "``", "```", "~~~", "~~~~", "\n", "\n\n", "    ", "\t", "  ", " ", "> ", "- ", "1. ", "#", "*", "_", "|"),
    *("<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<", "</code>", "<!--", "-->", "<?", "<http://a>"),
    *("[x](", "javascript:alert(1)", ")", "[", "]", "(", "[a]", "[a]: javascript:alert(1)\n", "![", "<javascript:a>"),
    *("$", "$$", '"', "'", "\\", "!", "a", "https://a.example", "&lt;", "&#60;", 'https://a/"onclick=x', "\r", "\x00"),
]


class Page(HTMLParser):
    """Collects what must not be in a rendered answer."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.bad: list[object] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in PLAIN_TAGS:
            self.bad.append(tag)
        for name, value in attrs:
            safe_link = (tag, name) == ("a", "href") and (value or "").startswith(("https://", "http://", "mailto:"))
            if not safe_link and (tag, name) not in {
                ("code", "class"),
                ("ol", "start"),
                ("td", "style"),
                ("th", "style"),
            }:
                self.bad.append((tag, name, value))

    def handle_comment(self, data: str) -> None:
        self.bad.append(data)

    handle_decl = handle_pi = unknown_decl = handle_comment


def rendered(text: str) -> str:
    plugins = ["table", "strikethrough", "url"]
    return str(mistune.create_markdown(escape=False, plugins=plugins)(markdown(text)))


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=20).map("".join))
def test_no_text_whatever_becomes_a_tag_an_image_or_a_script_link(text: str):
    assert Page(rendered(text)).bad == []


def test_the_check_itself_can_fail():
    assert Page("<p><script>alert(1)</script></p>").bad == ["script"]
    assert Page('<p><a href="javascript:alert(1)">x</a></p>').bad


@pytest.mark.parametrize(
    "attack",
    [
        "<script>alert(1)</script>",
        "x <img src=x onerror=alert(1)> y",
        "<a href=javascript:alert(1)>x</a>",
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt:alert(1))",
        "[x](&#106;avascript:alert(1))",
        "[x]( data:text/html,<script>alert(1)</script>)",
        "[x][a]\n\n[a]: javascript:alert(1)",
        "![x](https://a.example/?secret)",
        "\\`[x](javascript:alert(1))`",
        "- a\n\n  ```\n<script>alert(1)</script>\n  ```",
        "```\n```~\n<script>alert(1)</script>\n```",
        "    ```\n<script>alert(1)</script>\n    ```",
        "``` a`b\n<script>alert(1)</script>\n```",
        '[x](https://a.example "$" onmouseover="alert(1)$")',
    ],
)
def test_a_known_attack_does_nothing(attack: str):
    assert Page(rendered(attack)).bad == []


@pytest.mark.parametrize(
    "text",
    [
        "# Title\n\n*a* **b** ~~c~~\n\n1. one\n2. two\n\n> quoted\n\n| a | b |\n|---|---|\n| 1 | 2 |",
        "A [link](https://a.example/x?y=1) and `code` and 3 < 4 and a <= b.",
        "Math: $a < b$ and $$\\frac{1}{2}$$",
    ],
)
def test_harmless_markdown_stays_as_it_was(text: str):
    assert markdown(text) == text


def test_a_fenced_block_keeps_its_code_and_its_language():
    code = 'if a < b and "x" in y[0]:\n    print("<div>")  # $x$'
    assert markdown(f"Look:\n```python\n{code}\n```\nDone.") == f"Look:\n\n```python\n{code}\n```\n\nDone."


def test_a_fence_that_is_still_open_is_closed():
    assert markdown("```python\nprint(1)") == "\n```python\nprint(1)\n```\n"


def test_code_in_a_list_is_code_without_the_lists_indentation():
    assert "\n```sh\npip list\n  x\n```\n" in markdown("1. Do:\n   ```sh\n   pip list\n     x\n   ```\n2. Done.")


def test_code_that_holds_a_fence_gets_a_longer_one():
    assert "\n````md\n```python\nx\n```\n````\n" in markdown("````md\n```python\nx\n```\n````")


def test_a_language_name_is_all_that_stays_of_an_info_string():
    assert markdown('```python {onload="x"} <b>\nx\n```').splitlines()[1] == "```python"


def test_inline_code_with_a_tag_shows_the_tag():
    assert Page(rendered("Use `<div>`.")).bad == []
    assert "<code>&lt;div&gt;</code>" in rendered("Use `<div>`.")


def test_a_comparison_inside_a_formula_stays_a_comparison():
    assert markdown("$a<b$") == "$a< b$"


def test_tex_that_links_or_loads_is_broken():
    assert "\\href" not in markdown("$\\href{javascript:alert(1)}{x}$")


def test_a_title_of_a_link_is_dropped_and_the_link_stays():
    assert markdown('[x](https://a.example "title")') == "[x](https://a.example)"


def test_control_characters_do_not_reach_a_terminal_or_a_page():
    assert plain("a\x1b[31mb\x9bc\u202ed\r\ne\tf\x00") == "a[31mbcd\ne\tf"


def test_preformatted_text_is_escaped():
    assert as_html('<b>&"') == "&lt;b&gt;&amp;&quot;"


def test_words_inside_markdown_are_entities_where_they_could_mean_something():
    assert entities("a_b *c* <d>") == "a&#95;b &#42;c&#42; &#60;d&#62;"
