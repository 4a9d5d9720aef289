"""What a source means, what a GGUF header or an IR folder says, and what is refused before anything is made."""

from __future__ import annotations

import os

import pytest
from support_models import REQUIRED, tiny_gguf, tiny_ir

from illama.errors import CancelledError, ModelNotFoundError, PullError
from illama.pull import CATALOGUE, Folder, GgufFile, Installed, gguf, local, localize, recipes, resolve
from illama.pull.catalog import HUB, known_names
from illama.pull.files import need_space
from illama.pull.progress import Progress
from illama.pull.repos import HubRepo, is_repo
from illama.pull.sources import canonical, on_hub
from illama.registry import Registry
from illama.registry.names import fold


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path / "registry")


@pytest.mark.parametrize(
    "source", ["smollm2", "SmolLM2", "smollm2:135M", "smollm2:latest", "SMOLLM2-135m-instruct", " smollm2 "]
)
def test_a_catalogue_name_is_known_in_any_case_of_letters(registry, source):
    assert resolve(source, registry) is CATALOGUE[0]


def test_the_full_repo_name_of_a_catalogue_model_is_one_of_its_names(registry):
    assert resolve("huggingfacetb/smollm2-135m-instruct", registry) is CATALOGUE[0]


def test_a_folder_and_a_gguf_file_are_known_by_their_path(registry, tmp_path, monkeypatch):
    folder, file = tiny_ir(tmp_path / "Phi-4"), tiny_gguf(tmp_path / "x.GGUF")
    monkeypatch.chdir(tmp_path)
    assert resolve(str(folder), registry) == resolve("./Phi-4", registry) == resolve("Phi-4", registry)
    assert resolve("Phi-4", registry) == Folder(folder)
    assert resolve("x.GGUF", registry) == GgufFile(file)


def test_a_path_is_made_absolute_for_another_process_and_a_name_is_not(tmp_path, monkeypatch):
    tiny_gguf(tmp_path / "x.gguf")
    monkeypatch.chdir(tmp_path)
    assert localize("x.gguf") == str(tmp_path / "x.gguf")
    assert localize("./not/there") == str(tmp_path / "not" / "there")
    assert localize("smollm2") == "smollm2"
    assert localize("microsoft/Phi-4") == "microsoft/Phi-4"


def test_an_unknown_name_gets_the_nearest_and_what_can_be_pulled(registry):
    with pytest.raises(ModelNotFoundError) as caught:
        resolve("smolm2", registry)
    assert "Did you mean smollm2" in caught.value.hint
    assert "path" in caught.value.hint


@pytest.mark.parametrize(
    ("source", "repo"),
    [
        ("microsoft/Phi-4", HubRepo("microsoft/Phi-4")),
        ("a/b:latest", HubRepo("a/b")),
        ("a/b@v1.0", HubRepo("a/b", revision="v1.0")),
        ("a/b@refs/pr/1", HubRepo("a/b", revision="refs/pr/1")),
        ("a/b-GGUF:Q4_K_M", HubRepo("a/b-GGUF", quant="Q4_K_M")),
        ("a/b@main:Q8_0", HubRepo("a/b", revision="main", quant="Q8_0")),
        ("a/b:Q8_0@main", HubRepo("a/b", revision="main", quant="Q8_0")),
        ("hf.co/a/b:Q8_0", HubRepo("a/b", quant="Q8_0")),
        ("huggingface.co/a/b", HubRepo("a/b")),
        ("https://huggingface.co/a/b/", HubRepo("a/b")),
        ("https://HuggingFace.co/a/b/tree/v2?x=1#y", HubRepo("a/b", revision="v2")),
        ("https://hf.co/a/b/blob/main/x/y.gguf", HubRepo("a/b", revision="main", file="x/y.gguf")),
    ],
)
def test_a_repository_on_the_hub_is_known_by_all_its_names(registry, source, repo):
    assert resolve(source, registry) == on_hub(source) == repo
    assert localize(source) == source


@pytest.mark.parametrize(
    "source",
    [
        "a/b/c",
        "a/..",
        "a/b@../x",
        "a/b;rm -rf x",
        "$(x)/b",
        "a/b\nc",
        "a--b/c",
        "a/b@x@y",
        "a/b:",
        "https://huggingface.co/datasets/a/b",
        "https://huggingface.co/a",
        "https://evil.example/a/b",
        "https://huggingface.co@evil.example/a/b",
        "https://huggingface.co/a/b/blob/main/../../x.gguf",
        "a/" + "b" * 200,
    ],
)
def test_what_is_no_repository_is_nothing(registry, source):
    assert on_hub(source) is None
    with pytest.raises(ModelNotFoundError):
        resolve(source, registry)


def test_every_short_name_means_one_thing():
    names = [fold(name) for name in known_names()]
    assert len(names) == len(set(names))
    assert all(is_repo(item.repo) for item in HUB)


def test_a_short_name_brings_its_repository_and_its_names(registry):
    assert resolve(" Qwen3:8B ", registry) == HubRepo("OpenVINO/Qwen3-8B-int4-ov", aliases=("qwen3", "qwen3:8b"))
    assert on_hub("smollm2") is None
    with pytest.raises(ModelNotFoundError) as caught:
        resolve("qwen3:8c", registry)
    assert "qwen3:8b" in caught.value.hint


def test_names_of_one_repository_are_one_source():
    same = {canonical(each) for each in ("phi4", "PHI4:14b", "OpenVINO/phi-4-int4-ov", "hf.co/openvino/phi-4-int4-ov")}
    assert len(same) == 1
    assert canonical("phi4") != canonical("OpenVINO/phi-4-int4-ov@v1")
    assert canonical("smollm2") == canonical("SmolLM2-135M-Instruct")
    assert canonical("/models/x.gguf") == "/models/x.gguf"


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({"dtype": "int4"}, "int4"),
        ({"dtype": "fp16", "quantization_config": None}, "fp16"),
        ({"dtype": None, "quantization_config": {"bits": 8}}, "int8"),
        ({"quantization_config": {"bits": "many"}}, None),
        ({"dtype": "../x"}, None),
        ([], None),
    ],
)
def test_a_repositorys_word_about_its_weights_is_taken_if_it_is_one(config, kind):
    assert local.weight_format(config) == kind


@pytest.mark.parametrize(
    "source", ["", "\0", "../nowhere\n", "x" * 10_000, "./" + "x" * 10_000, "a\0b.gguf", "~nobody-here/x"]
)
def test_nonsense_is_an_error_and_not_a_crash(registry, source):
    with pytest.raises((ModelNotFoundError, PullError)):
        resolve(source, registry)


def test_a_path_to_nothing_and_to_the_wrong_thing_say_which(registry, tmp_path):
    with pytest.raises(PullError, match="There is no") as caught:
        resolve(str(tmp_path / "nowhere"), registry)
    assert caught.value.status == 404
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(PullError, match=r"neither a folder nor a \.gguf"):
        resolve(str(tmp_path / "notes.txt"), registry)


def test_an_installed_model_needs_no_source(registry):
    from test_registry import install

    entry = install(registry, "Mine")
    assert resolve("mine", registry) == Installed(entry)


def test_a_gguf_header_says_what_the_registry_wants_to_know(tmp_path):
    facts = gguf.read_header(tiny_gguf(tmp_path / "x.gguf"))
    assert (facts.architecture, facts.weight_format, facts.context_length) == ("llama", "q4_1", 4096)
    assert (facts.chat_template, facts.licence, facts.ir_size) == (True, "apache-2.0", 40)


def test_a_file_type_is_named_as_llama_cpp_names_it(tmp_path):
    file = tiny_gguf(tmp_path / "x.gguf", kind=1, block=64, header={"general.file_type": 15})
    assert gguf.read_header(file).weight_format == "q4_k_m"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"architecture": "gemma3"}, "architecture is gemma3; readable are llama, qwen2, qwen3"),
        ({"kind": 6, "block": 22}, "is Q5_0"),
        ({"kind": 13}, "is Q5_K"),
        ({"kind": 23}, "is IQ4_XS"),
        ({"kind": 77}, "is of kind 77"),
        ({"header": {"split.count": 3}}, "one part of several"),
    ],
)
def test_a_gguf_that_genai_cannot_read_is_refused_with_the_reason(tmp_path, changes, reason):
    with pytest.raises(PullError, match=reason) as caught:
        gguf.read_header(tiny_gguf(tmp_path / "x.gguf", **changes))
    assert caught.value.status == 400
    assert "Q4_K" in caught.value.hint


def test_a_gguf_that_is_cut_anywhere_is_refused(tmp_path):
    whole = tiny_gguf(tmp_path / "x.gguf").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "cut.gguf").write_bytes(whole[:length])
        with pytest.raises(PullError, match=r"cut|empty|not a GGUF"):
            gguf.read_header(tmp_path / "cut.gguf")


def test_a_gguf_of_lies_is_refused_without_reading_for_ever(tmp_path):
    whole = bytearray(tiny_gguf(tmp_path / "x.gguf").read_bytes())
    for place in range(4, len(whole) - 40):
        lie = bytes(whole[:place]) + b"\xff\xff\xff\xff\xff\xff\xff\x7f" + bytes(whole[place + 8 :])
        (tmp_path / "lie.gguf").write_bytes(lie)
        try:
            gguf.read_header(tmp_path / "lie.gguf")
        except PullError:
            continue


def test_what_is_no_gguf_is_named_so(tmp_path):
    (tmp_path / "x.gguf").write_bytes(b"PK\3\4" + b"\0" * 100)
    with pytest.raises(PullError, match="not a GGUF file"):
        gguf.read_header(tmp_path / "x.gguf")


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "SmolLM2-135M-Instruct"),
        ("Qwen3-8B-Q4_K_M.gguf", "Qwen3-8B"),
        ("llama-3.2-1b-f16.gguf", "llama-3.2-1b"),
        ("Mine.gguf", "Mine"),
    ],
)
def test_a_gguf_model_is_called_by_its_file_without_the_weights_kind(tmp_path, file, name):
    assert gguf.model_name(tmp_path / file) == name


def test_an_ir_folder_says_what_the_registry_wants_to_know(tmp_path):
    facts = local.read(tiny_ir(tmp_path / "m", max_position_embeddings=8192))
    assert (facts.architecture, facts.context_length, facts.chat_template) == ("llama", 8192, True)
    assert set(facts.files) == {*REQUIRED, "config.json", "tokenizer_config.json"}


def test_weight_format_and_versions_are_read_from_the_ir_itself(tmp_path):
    folder = tiny_ir(tmp_path / "m")
    model = folder / "openvino_model.xml"
    info = '<rt_info><Runtime_version value="2026.4.1-1" /><nncf><weight_compression><mode value="int4_sym" />'
    model.write_text(model.read_text().replace("</net>", f"{info}</weight_compression></nncf></rt_info></net>"))
    facts = local.read(folder)
    assert (facts.weight_format, facts.versions) == ("int4", {"openvino": "2026.4.1-1"})


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "folder"])
def test_each_required_file_must_be_there_and_whole(tmp_path, name, damage):
    folder = tiny_ir(tmp_path / "m")
    if damage in {"missing", "folder"}:
        (folder / name).unlink()
    if damage == "folder":
        (folder / name).mkdir()
    if damage in {"empty", "cut"}:
        os.truncate(folder / name, 0 if damage == "empty" else 20)
    with pytest.raises(PullError, match=name.replace(".", r"\.")) as caught:
        local.read(folder)
    assert caught.value.status == 400
    assert caught.value.hint


@pytest.mark.parametrize("name", ["openvino_model.bin", "config.json", "chat_template.jinja"])
def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path, name):
    folder = tiny_ir(tmp_path / "m")
    secret = tmp_path / "secret"
    secret.write_bytes(b"{}" * 40)
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(secret)
    with pytest.raises(PullError, match="leads out of the folder") as caught:
        local.read(folder)
    assert "cp -rL" in caught.value.hint


def test_a_link_within_the_folder_is_followed_and_arrives_as_a_plain_file(tmp_path):
    folder = tiny_ir(tmp_path / "m")
    (folder / "openvino_model.bin").rename(folder / "blob")
    (folder / "openvino_model.bin").symlink_to("blob")
    staged = tmp_path / "staged"
    staged.mkdir()
    local.stage(folder, local.read(folder), staged, Progress(lambda line: None))
    assert (staged / "openvino_model.bin").read_bytes() == b"w" * 64
    assert not (staged / "openvino_model.bin").is_symlink()
    assert not (staged / "blob").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for(tmp_path):
    folder = tiny_ir(tmp_path / "m")
    (folder / "openvino_model.xml").unlink()
    os.mkfifo(folder / "openvino_model.xml")
    with pytest.raises(PullError, match="not a plain file"):
        local.read(folder)


def test_a_config_that_is_cut_is_named(tmp_path):
    folder = tiny_ir(tmp_path / "m")
    (folder / "config.json").write_text('{"model_type": ')
    with pytest.raises(PullError, match=r"config\.json is not whole JSON"):
        local.read(folder)


@pytest.mark.parametrize(
    ("file", "word"),
    [("notes.txt", "A model's folder holds"), ("x.gguf", "file's path")],
)
def test_a_folder_of_another_kind_gets_the_step_that_fits(tmp_path, file, word):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / file).write_text("x")
    with pytest.raises(PullError) as caught:
        local.read(tmp_path / "m")
    assert word in caught.value.hint


def test_progress_comes_at_most_ten_times_a_second_and_the_last_line_always():
    lines, now = [], [0.0]
    progress = Progress(lines.append, clock=lambda: now[0])
    for done in range(1, 1001):
        now[0] += 0.001
        progress.report("download", "downloading", done, 1000)
    assert 10 <= len(lines) <= 12
    assert lines[-1] == {"status": "downloading", "phase": "download", "completed": 1000, "total": 1000}


def test_a_cancelled_progress_raises_at_the_next_report():
    progress = Progress(lambda line: None)
    progress.report("convert", "converting")
    progress.cancel()
    with pytest.raises(CancelledError):
        progress.report("convert", "converting")


def test_a_disk_that_is_too_small_is_told_with_figures(tmp_path):
    with pytest.raises(PullError, match=r"needs 1000000000\.0 GB .* are free"):
        need_space(tmp_path / "not" / "yet", 10**18, "The model")


@pytest.mark.parametrize("device", [None, "CPU", "GPU.1", "NPU", "AUTO"])
def test_every_device_has_the_recipe_that_keeps_the_weights(device):
    assert recipes.for_gguf(device).name == "keep"
