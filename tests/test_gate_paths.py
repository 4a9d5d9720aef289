from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from illama.errors import NotFoundError
from illama_server import paths


@pytest.mark.parametrize(
    "path",
    [
        "models",
        "chat/completions",
        "models/a%2Fb",
        "models/Phi-4:int8",
        "models/%E6%A8%A1",
        "models/a..b",
        "models/...",
    ],
)
def test_a_path_goes_through_as_it_came(path: str):
    assert paths.checked("v1", path) == f"/v1/{path}"


@pytest.mark.parametrize(
    "path",
    [
        *("", "/", "models/", "a//b", ".", "..", "../health", "models/../../health", "a/./b"),
        *("%2e%2e/health", ".%2E/x", "a/%2e%2e%2fhealth", "..%2fhealth", "%252e%252e/x", "%25252e%25252e%25252fx"),
        *("..\\x", "%2e%2e%5cx", "a%5c..%5cx", "a%00b", "a%0d%0aHost:%20x", "a b", "a\x00b", "a?b", "a#b", "a%zz", "ä"),
        *("http://127.0.0.1:22/", "//127.0.0.1:22/", "%2f%2f127.0.0.1:22/x"),
    ],
)
def test_a_path_that_could_lead_elsewhere_is_not_there(path: str):
    with pytest.raises(NotFoundError):
        paths.checked("v1", path)


@given(st.text(alphabet="ab./\\%25eEfF:@?#\0 \n", max_size=30))
def test_whatever_goes_through_stays_in_its_tree(path: str):
    try:
        target = paths.checked("api", path)
    except NotFoundError:
        return
    # A client or server that tidies paths up must come to the same one.
    tidied = URL("http://127.0.0.1:1" + target)
    assert (tidied.host, tidied.port) == ("127.0.0.1", 1)
    assert tidied.path.startswith("/api/")
    assert not tidied.query_string


@pytest.mark.parametrize(
    ("raw", "left"),
    [
        ("", ""),
        ("token=secret", ""),
        ("%74oken=secret&_xsrf=1&no_track_activity=1", ""),
        ("a=1&token=secret&b=%2F+x", "?a=1&b=%2F+x"),
        ("empty=&a=%E6%A8%A1", "?empty=&a=%E6%A8%A1"),
        ("a=%0d%0aHost:x", "?a=%0D%0AHost%3Ax"),
    ],
)
def test_what_is_jupyters_is_taken_out_of_the_query(raw: str, left: str):
    assert paths.query(raw) == left


@pytest.mark.parametrize("path", ["pull", "delete", "%70ull", "PULL", "%2570ull", "blobs/sha256:0", "create", "copy"])
def test_what_changes_the_models_is_known_however_it_is_written(path: str):
    assert paths.manages("api", path)


@pytest.mark.parametrize(("tree", "path"), [("api", "tags"), ("api", "generate"), ("v1", "models/pull")])
def test_what_only_uses_models_is_not_managing(tree: str, path: str):
    assert not paths.manages(tree, path)
