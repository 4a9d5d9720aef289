"""Scripts that make Hugging Face checkpoints, run by an interpreter with torch and transformers, never imported.

python support_make_checkpoints.py smollm2 FILE.gguf FOLDER    the weights of a GGUF file (needs gguf, accelerate)
python support_make_checkpoints.py tiny-vlm FOLDER             a vision-language model of random weights
    python support_make_checkpoints.py reranker MINILM FOLDER      an encoder of real weights with a random head
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def smollm2(file: str, folder: str) -> None:
    """SmolLM2-135M-Instruct as its makers publish it: safetensors in bfloat16, the tokenizer, the chat template."""
    import torch
    from gguf import GGUFReader
    from transformers import AutoModelForCausalLM, GenerationConfig

    source = Path(file)
    model = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.bfloat16)
    model.config.eos_token_id = model.config.pad_token_id = 2
    model.config.bos_token_id = 1
    model.config._name_or_path = ""
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=2, pad_token_id=2)
    model.to(torch.bfloat16).save_pretrained(folder)
    fields = GGUFReader(source).fields
    words, merges, kinds, template = (
        fields[f"tokenizer.{key}"].contents()
        for key in ("ggml.tokens", "ggml.merges", "ggml.token_type", "chat_template")
    )
    _tokenizer(
        words,
        [tuple(merge.split(" ")) for merge in merges],
        [word for word, kind in zip(words, kinds, strict=True) if kind == 3],
        template,
    ).save_pretrained(folder)


def _tokenizer(words: list[str], merges: list[Any], special: list[str], template: str) -> Any:
    """The tokenizer that the GGUF's own tables mean; the one that transformers makes of them is wrong."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE({word: id for id, word in enumerate(words)}, merges))
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in special])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
        chat_template=template,
        model_max_length=8192,
        clean_up_tokenization_spaces=False,
    )


_VLM_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tiny_vlm(folder: str) -> None:
    """A LLaVA of 0.4 million random weights, which reads bytes and pictures of 56 x 56 points, and answers nonsense."""
    import torch
    from tokenizers import pre_tokenizers
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    torch.manual_seed(0)
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>"]
    words = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = _tokenizer(words, [], special, _VLM_TEMPLATE)
    vision = CLIPVisionConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=56,
        patch_size=14,
        projection_dim=64,
    )
    text = LlamaConfig(
        vocab_size=len(words),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=3, vision_feature_layer=-2)
    config.architectures = ["LlavaForConditionalGeneration"]
    LlavaForConditionalGeneration(config).to(torch.float32).save_pretrained(folder)
    side = {"height": 56, "width": 56}
    pictures = CLIPImageProcessor(size={"shortest_edge": 56}, crop_size=side)
    LlavaProcessor(
        pictures,
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        image_token="<image>",
        num_additional_image_tokens=1,
        chat_template=_VLM_TEMPLATE,
    ).save_pretrained(folder)


def reranker(encoder: str, folder: str) -> None:
    """A cross-encoder with one label, whose scores mean nothing."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=1).save_pretrained(folder)
    AutoTokenizer.from_pretrained(encoder).save_pretrained(folder)


if __name__ == "__main__":
    {"smollm2": smollm2, "tiny-vlm": tiny_vlm, "reranker": reranker}[sys.argv[1]](*sys.argv[2:])
