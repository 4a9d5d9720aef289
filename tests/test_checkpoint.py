"""What of a repository makes a checkpoint, what it is for, and what is refused before anything is run."""

from __future__ import annotations

import pytest

from illama.errors import PullError
from illama.pull import checkpoint, pooling, recipes

LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_attention_heads": 9,
    "head_dim": 64,
    "max_position_embeddings": 8192,
    "dtype": "bfloat16",
}
BERT = {"model_type": "bert", "architectures": ["BertModel"], "hidden_size": 384, "max_position_embeddings": 512}
MODULES = [
    {"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]


def read(files, *, trusted=False):
    """Read a checkpoint whose files are JSON objects or sizes."""
    sizes = {name: data if isinstance(data, int) else 100 for name, data in files.items()}
    objects = {name: data for name, data in files.items() if not isinstance(data, int)}
    return checkpoint.read("some/model", sizes, lambda name: objects.get(name, {}), trusted=trusted)


def refusal(files, **options):
    with pytest.raises(PullError) as caught:
        read(files, **options)
    return caught.value.one_line()


def test_only_what_is_needed_is_chosen_and_weights_in_one_form():
    unwanted = ["README.md", "pytorch_model.bin", "onnx/model.onnx", "original/consolidated.00.pth", "tf_model.h5"]
    unwanted += ["flax_model.msgpack", "consolidated.safetensors", "model.fp16.safetensors", "evil.py", "x/config.json"]
    wanted = ["tokenizer.json", "tokenizer.model", "chat_template.jinja", "generation_config.json", "LICENSE.txt"]
    wanted += ["preprocessor_config.json", "vocab.json", "merges.txt", "special_tokens_map.json"]
    found = read({"config.json": BERT, "model.safetensors": 400, **dict.fromkeys([*unwanted, *wanted], 10)})
    assert set(found.files) == {"config.json", "model.safetensors", *wanted}
    assert found.weights == ("model.safetensors",)


def test_the_shards_are_those_that_the_index_names():
    shards = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    index = {"weight_map": {"a": shards[0], "b": shards[1], "c": shards[1]}}
    files = {"config.json": LLAMA, "model.safetensors.index.json": index, "model-00009-of-00009.safetensors": 7}
    found = read({**files, shards[0]: 1000, shards[1]: 500})
    assert found.weights == tuple(shards)
    assert found.parameters == 750
    assert "model-00002-of-00002.safetensors' is missing" in refusal({**files, shards[0]: 1000})


def test_an_index_that_leads_elsewhere_is_refused():
    index = {"weight_map": {"a": "../../outside.safetensors"}}
    files = {"config.json": LLAMA, "model.safetensors.index.json": index, "../../outside.safetensors": 5}
    assert "is missing" in refusal(files)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.ckpt"])
def test_pickles_alone_are_refused(name):
    assert "pickles alone" in refusal({"config.json": LLAMA, name: 1000})


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "processor_config.json"])
def test_code_of_its_own_is_refused_unless_the_user_asked_for_it(file):
    files = {"config.json": LLAMA, "model.safetensors": 100, "modeling_x.py": 10}
    files[file] = {**(LLAMA if file == "config.json" else {}), "auto_map": {"AutoModel": "modeling_x.X"}}
    message = refusal(files)
    assert f"auto_map in {file}" in message
    assert "--trust-remote-code" in message
    found = read(files, trusted=True)
    assert found.remote_code
    assert "modeling_x.py" in found.files
    assert not read({"config.json": LLAMA, "model.safetensors": 100, "x.py": 1}, trusted=True).remote_code


def test_weights_that_are_quantized_already_are_refused_by_their_method():
    config = {**LLAMA, "quantization_config": {"quant_method": "awq"}}
    assert "'awq'" in refusal({"config.json": config, "model.safetensors": 100})


def test_an_adapter_is_no_model():
    assert "adapter" in refusal({"adapter_config.json": {}, "adapter_model.safetensors": 100})


@pytest.mark.parametrize(
    ("config", "task"),
    [
        (LLAMA, "text-generation"),
        ({**LLAMA, "architectures": ["GPT2LMHeadModel"]}, "text-generation"),
        (BERT, "embedding"),
        ({**BERT, "architectures": ["BertForSequenceClassification"], "id2label": {"0": "x"}}, "rerank"),
        ({**LLAMA, "architectures": ["LlavaForConditionalGeneration"], "vision_config": {}}, "image-text-to-text"),
    ],
)
def test_the_task_is_read_from_the_architecture(config, task):
    assert read({"config.json": config, "model.safetensors": 100}).task == task


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({**BERT, "architectures": ["BertForSequenceClassification"], "id2label": {"0": 1, "1": 2}}, "2 labels"),
        ({**BERT, "architectures": ["WhisperForConditionalGeneration"]}, "Whisper"),
        ({**BERT, "architectures": ["T5Model"], "is_encoder_decoder": True}, "T5Model"),
        ({"architectures": ["X"]}, "config.json is missing or says nothing"),
    ],
)
def test_what_no_engine_runs_is_refused_by_its_kind(config, word):
    assert word in refusal({"config.json": config, "model.safetensors": 100})


def test_pooling_normalization_instructions_and_length_come_from_sentence_transformers_files():
    files = {
        "config.json": {**BERT, "architectures": ["XForMaskedLM"]},
        "model.safetensors": 400,
        "modules.json": MODULES,
        "1_Pooling/config.json": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False},
        "sentence_bert_config.json": {"max_seq_length": 256},
        "config_sentence_transformers.json": {"prompts": {"query": "query: ", "document": ""}},
    }
    found = read(files)
    assert found.task == "embedding"
    assert found.options == {
        "pooling": "cls",
        "normalize": True,
        "query_instruction": "query: ",
        "max_length": 256,
    }


def test_a_model_in_a_folder_of_its_own_is_found_there():
    files = {
        "modules.json": [
            {"path": "0_Transformer", "type": "a.Transformer"},
            {"path": "1_Pooling", "type": "a.Pooling"},
        ],
        "0_Transformer/config.json": BERT,
        "0_Transformer/model.safetensors": 400,
        "0_Transformer/vocab.txt": 9,
        "1_Pooling/config.json": {"pooling_mode": "lasttoken"},
    }
    found = read(files)
    assert (found.base, found.weights) == ("0_Transformer/", ("0_Transformer/model.safetensors",))
    assert "0_Transformer/vocab.txt" in found.files
    assert found.options == {"pooling": "last", "normalize": False}
    assert {"modules.json", "0_Transformer/config.json", "1_Pooling/config.json"} <= set(
        checkpoint.first(dict.fromkeys(files, 10))
    )


@pytest.mark.parametrize(
    ("modules", "config", "word"),
    [
        ([*MODULES, {"path": "3_Dense", "type": "x.Dense"}], {}, "Dense"),
        (MODULES, {"pooling_mode_max_tokens": True}, "pooling_mode_max_tokens"),
        (MODULES, {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, "pooling"),
    ],
)
def test_vectors_that_no_engine_makes_are_refused(modules, config, word):
    files = {"config.json": BERT, "model.safetensors": 1, "modules.json": modules, "1_Pooling/config.json": config}
    assert word in refusal(files)


def test_modules_that_lead_elsewhere_are_none():
    assert pooling.modules([{"path": "../x", "type": "a.Transformer"}]) == ()
    assert pooling.modules({"not": "a list"}) == ()


def test_groups_divide_what_they_lie_along():
    dimensions = read({"config.json": LLAMA, "model.safetensors": 100}).dimensions
    assert dimensions == (576, 1536)
    _, ways = recipes.for_checkpoint("text-generation", 10**10, dimensions, "int4")
    assert ways[0].options == {"bits": 4, "sym": True, "ratio": 1.0, "weight_only": True, "group_size": 64}
    assert recipes.for_checkpoint("text-generation", 1, (4096, 11008), "int4")[1][0].options["group_size"] == 128
    assert recipes.for_checkpoint("text-generation", 1, (100,), "int4")[1][0].name == "int4-sym-fitted"


@pytest.mark.parametrize(
    ("task", "parameters", "wanted", "aim"),
    [
        ("text-generation", 135 * 10**6, None, "int8"),
        ("text-generation", 8 * 10**9, "auto", "int4"),
        ("image-text-to-text", 7 * 10**9, None, "int4"),
        ("embedding", 8 * 10**9, None, "int8"),
        ("rerank", 10**8, None, "int8"),
        ("text-generation", 8 * 10**9, "fp16", "fp16"),
    ],
)
def test_auto_goes_by_size_and_task(task, parameters, wanted, aim):
    found, ways = recipes.for_checkpoint(task, parameters, (4096,), wanted)
    assert found == aim
    assert ways[0].weight_format == aim


def test_a_format_that_was_asked_for_is_kept_to_and_auto_goes_on_to_the_next_best():
    assert {way.weight_format for way in recipes.for_checkpoint("text-generation", 10**10, (64,), "int4")[1]} == {
        "int4"
    }
    formats = [way.weight_format for way in recipes.for_checkpoint("text-generation", 10**10, (64,), "auto")[1]]
    assert formats == ["int4", "int4", "int8", "fp16"]
