"""The panel's Markdown, in a browser: what models write, what nobody should write, and all of it in pieces."""

# ruff: noqa: E501, ISC004 - a text and what becomes of it stand in one line

from __future__ import annotations

import random
import re
from typing import Any

import pytest
from support_panel import needs_a_browser
from support_static import bare_page

pytestmark = needs_a_browser

RENDER = """
async (texts) => {
  const { createMarkdown } = await import("/markdown.js");
  return texts.map((pieces) => {
    const made = createMarkdown();
    document.body.append(made.element);
    const began = performance.now();
    for (const piece of pieces) {
      made.append(piece);
      made.finish();
    }
    const took = performance.now() - began;
    const settled = made.element.querySelectorAll(".settled").length;
    const links = [...made.element.querySelectorAll("a")].map((a) => a.getAttribute("href"));
    const tags = [...new Set([...made.element.querySelectorAll("*")].map((e) => e.localName))];
    for (const each of made.element.querySelectorAll(".settled")) each.classList.remove("settled");
    for (const each of made.element.querySelectorAll("[class='']")) each.removeAttribute("class");
    const html = made.element.innerHTML;
    const text = made.element.textContent;
    made.element.remove();
    return { html, text, links, tags, settled, took };
  });
}
"""


@pytest.fixture(scope="module")
def page(browser: Any) -> Any:
    return bare_page(browser)


def rendered(page: Any, text: str) -> dict[str, Any]:
    (made,) = page.evaluate(RENDER, [[text]])
    return dict(made)


def simple(page: Any, text: str) -> str:
    """The HTML, without what only looks and screen readers need."""
    html = rendered(page, text)["html"]
    html = re.sub(r'<div class="code-head">(.*?)<button.*?</button></div>', r"\1", html)
    return re.sub(r' (?:tabindex|aria-label|target|rel|title|role|scope)="[^"]*"', "", html)


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("Hello *there*, **you** and ***all***.", "<p>Hello <em>there</em>, <strong>you</strong> and <em><strong>all</strong></em>.</p>"),
        ("snake_case_name and 2*3*4", "<p>snake_case_name and 2<em>3</em>4</p>"),
        ("~~gone~~ ~kept~", "<p><del>gone</del> ~kept~</p>"),
        ("Run `a <b>` or ``a ` b``", "<p>Run <code>a &lt;b&gt;</code> or <code>a ` b</code></p>"),
        ("# One\n###### Six ##", '<h4 class="h1">One</h4><h6 class="h6">Six</h6>'),
        ("Title\n=====\ntext", '<h4 class="h1">Title</h4><p>text</p>'),
        ("above\n---\nbelow", "<p>above</p><hr><p>below</p>"),
        ("- a\n- b\n  - c\n\n  more\n- d", "<ul><li>a</li><li>b<ul><li>c</li></ul><p>more</p></li><li>d</li></ul>"),
        ("1. a\n   - b\n2. c", '<ol><li value="1">a<ul><li>b</li></ul></li><li value="2">c</li></ol>'),
        ("7) a\n8) b", '<ol><li value="7">a</li><li value="8">b</li></ol>'),
        ("In\n2026. It was", "<p>In\n2026. It was</p>"),
        ("> a\n> > b\n\nc", "<blockquote><p>a</p><blockquote><p>b</p></blockquote></blockquote><p>c</p>"),
        ("```py\nif a:\n    b\n```\nafter", '<div class="code"><span>py</span><pre><code>if a:\n    b</code></pre></div><p>after</p>'),
        ("~~~\nnever closed\n\n# no heading", '<div class="code"><span></span><pre><code>never closed\n\n# no heading</code></pre></div>'),
        ("1. Do:\n   ```\n   a\n     b\n   ```\n2. x", '<ol><li value="1">Do:<div class="code"><span></span><pre><code>a\n  b</code></pre></div></li><li value="2">x</li></ol>'),
        (
            "Table:\n| a | b |\n|---|--:|\n| 1 | `x\\|y` | 3 |",
            '<p>Table:</p><div class="table"><table><thead><tr><th>a</th><th class="end">b</th></tr></thead>'
            '<tbody><tr><td>1</td><td class="end"><code>x|y</code></td><td>3</td></tr></tbody></table></div>',
        ),
        ("[a *b*](https://x.example/y_z_)", '<p><a href="https://x.example/y_z_">a <em>b</em></a></p>'),
        ("(see https://x.example/a_(b)).", '<p>(see <a href="https://x.example/a_(b)">https://x.example/a_(b)</a>).</p>'),
        ("<mailto:a@b.example> <https://x.example>", '<p><a href="mailto:a@b.example">a@b.example</a> <a href="https://x.example">https://x.example</a></p>'),
        ("![a cat](https://x.example/cat.png)", '<p><span class="image">a cat (https://x.example/cat.png)</span></p>'),
        ("&lt;b&gt; &amp;amp; \\*plain\\*", "<p>&lt;b&gt; &amp;amp; *plain*</p>"),
        ("Let \\(a_1 * b_1 * c\\) and $$x_i * y_i$$", '<p>Let <code class="tex">\\(a_1 * b_1 * c\\)</code> and <code class="tex">$$x_i * y_i$$</code></p>'),
    ],
)  # fmt: skip
def test_what_models_write_looks_as_they_mean_it(page: Any, text: str, html: str):
    assert simple(page, text) == html


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\tscript:alert(1)", " javascript:alert(1)", "javascript&colon;alert(1)",
        "&#106;avascript:alert(1)", "\x01javascript:alert(1)", "data:text/html,<script>alert(1)</script>", "vbscript:x", "file:///etc/passwd",
        "//evil.example/x", "/api/shutdown", "../../x", "blob:https://x.example/1", "https:javascript", "http://", "https://a\u202eb.example",
        "view-source:https://x.example", "jar:https://x.example!/", "feed:javascript:alert(1)", "http://[::bad", "mailto:\u200ba@b.example",
    ],
)  # fmt: skip
def test_a_link_leads_to_the_web_or_to_a_mail_or_nowhere(page: Any, address: str):
    for text in (f"[click]({address})", f"[click](<{address}>)", f"<{address}>"):
        made = rendered(page, text)
        assert all(re.match(r"https?://[\w.]+/?|mailto:\w", link) and "bad" not in link for link in made["links"]), made
        assert not any(address == link for link in made["links"])
        if not made["links"]:
            assert "click" in made["text"] or address.strip("<>") in made["text"]


HOSTILE = [
    "<script>window.hacked=1</script>", "<img src=x onerror=window.hacked=1>", "<svg/onload=window.hacked=1>", "<style>*{display:none}</style>",
    "<iframe src=javascript:window.hacked=1>", '[x](https://a.example/"onmouseover="window.hacked=1")', "![x](http://panel.test/leak.png)",
    "```<img src=x onerror=window.hacked=1>\n<script>window.hacked=1</script>", "| <script>window.hacked=1</script> | b |\n|---|---|\n| <b onclick=x> | y |",
    "[a]: javascript:window.hacked=1\n\n[a]", "<a href=javascript:window.hacked=1>x</a>", "<!-- x --><![CDATA[x]]><?php x ?>", "<base href=//evil.example>",
    "[![x](http://panel.test/leak.png)](javascript:window.hacked=1)", "<form action=//evil.example><button>x</button></form>", "<math><mi xlink:href=javascript:x>y",
    "`" * 3 + "js\n</code></pre><script>window.hacked=1</script>", "# <script>window.hacked=1</script>", "> <object data=x>",
]  # fmt: skip


def test_nothing_of_it_becomes_markup_or_is_fetched(page: Any):
    made = page.evaluate(RENDER, [[text] for text in HOSTILE])
    allowed = {
        "p",
        "a",
        "div",
        "span",
        "button",
        "pre",
        "code",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "h4",
        "blockquote",
    }
    for text, each in zip(HOSTILE, made, strict=True):
        assert set(each["tags"]) <= allowed, (text, each["tags"])
        assert all(link.startswith("https://a.example/") for link in each["links"])
        for script in re.findall(r"<(?:script|img|svg|style|iframe|form|base|object)\b[^>]*>", text.split("```")[-1]):
            assert script in each["text"], (text, each["text"])
    page.wait_for_load_state("networkidle")
    assert page.evaluate("window.hacked") is None
    assert page.refused == []


ATOMS = [
    "*", "**", "***", "_", "__", "`", "``", "```", "```\n", "~~~\n", "~~", "# ", "## ", "> ", ">", "- ", "* ", "+ ", "1. ", "2) ", "  ", "    ", "\t",
    "\n", "\n", "\n", "\n\n", "\n\n", "\r\n", "|", " | ", "\n|---|---|\n", "<b>", "</p>", "&amp;", "&", "\\", "\\\n", "\\(", "\\)", "$$", "---\n", "***\n",
    "===\n", "!", " ", " ", " ", ", ", ". ", "é", "漢字", "🙂", "\u202e", "\u00a0", "\0",
]  # fmt: skip
LINKS = ["[", "](", ")", "![", "](https://", "<https://", ">", "https://", "]", "(", '"', " 'x' "]


def made_up(chance: random.Random, links: bool) -> str:
    """A text of words that are there once each, between all that Markdown is made of."""
    parts = []
    for number in range(chance.randint(1, 60)):
        parts += chance.choices([*ATOMS, *(LINKS if links else [])], k=chance.randint(0, 3))
        parts.append(f"w{number}x")
    return "".join(parts)


def cut(chance: random.Random, text: str) -> list[str]:
    """The same text in pieces."""
    if chance.random() < 0.2:
        return list(text)
    places = sorted(chance.randint(0, len(text)) for _ in range(chance.randint(1, 12)))
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


@pytest.mark.parametrize("links", [False, True])
def test_in_pieces_it_looks_as_it_does_whole_and_no_word_is_lost(page: Any, links: bool):
    chance = random.Random(f"markdown {links}")
    texts = [made_up(chance, links) for _ in range(1500)]
    whole = page.evaluate(RENDER, [[text] for text in texts])
    pieces = page.evaluate(RENDER, [cut(chance, text) for text in texts])
    for text, one, many in zip(texts, whole, pieces, strict=True):
        assert many["html"] == one["html"], repr(text)
        words, shown = re.findall(r"w\d+x", text), re.findall(r"w\d+x", one["text"])
        if links:
            assert set(words) == set(shown) | set(re.findall(r"w\d+x", " ".join(one["links"]))), repr(text)
        else:
            assert words == shown, repr(text)


def test_blocks_that_have_ended_are_settled(page: Any):
    made = rendered(page, "one\n\ntwo\n\n- a\n- b\n\nthree\n\nfour and")
    assert made["settled"] == 3  # the fourth line that is whole may still be of a block that goes on


@pytest.mark.parametrize(
    "text",
    [
        "*" * 20_000, "**a " * 8_000, "a** " * 8_000, "*a _b " * 6_000, "[" * 20_000, "[a](" * 6_000, "![" * 10_000, "`" * 9_999 + " ", "` `` ``` " * 3_000,
        "> " * 10_000, "- " * 10_000, "\n".join("  " * n + "- x" for n in range(300)), "1. " * 8_000, "|" * 20_000, "|a" * 9_000 + "\n" + "|-" * 9_000,
        "<" * 20_000, "&" * 20_000, "\\(" * 10_000, "$$ " * 8_000, "a" * 60_000, "# " + " " * 20_000 + "#" + " " * 20_000, "https://" * 5_000,
        "[a](https://x.example) " * 2_000, "\n" * 30_000, "\\" * 20_001, "[[a](https://x.example)" * 2_000, "~~a" * 8_000, "](" * 10_000, "_a_" * 8_000,
    ],
    ids=lambda text: repr(text[:12]),
)  # fmt: skip
def test_no_text_takes_long(page: Any, text: str):
    made = rendered(page, text)
    # Milliseconds, on a busy machine; what grows with the square of the length takes many times as long.
    assert made["took"] < 1500
