"""Every family of models in `transformers` against ours, both ways. Run by check-families.sh."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file

VOCABULARY, LENGTH = 211, 96
COMMON = dict(
    vocab_size=VOCABULARY,
    hidden_size=96,
    intermediate_size=176,
    num_hidden_layers=3,
    num_attention_heads=6,
    num_key_value_heads=2,
    max_position_embeddings=128,
    initializer_range=0.1,
    bos_token_id=0,
    eos_token_id=1,
)
LLAMA3 = dict(
    rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64,
    rope_theta=500_000.0,
)
LINEAR = dict(rope_type="linear", factor=2.0, rope_theta=10_000.0)
WINDOW = dict(use_sliding_window=True, sliding_window=24)
MIXED = ["full_attention", "sliding_attention", "full_attention"]
# Its config has names of its own.
GPT2 = dict(
    vocab_size=VOCABULARY,
    n_embd=96,
    n_inner=None,
    n_layer=3,
    n_head=6,
    n_positions=128,
    initializer_range=0.1,
    bos_token_id=0,
    eos_token_id=1,
)
FAMILIES = {
    "Llama 2": ("Llama", dict(tie_word_embeddings=False, num_key_value_heads=6)),
    "Llama 3, stretched": ("Llama", dict(tie_word_embeddings=False, rope_parameters=LLAMA3)),
    "Llama, linear stretch": ("Llama", dict(tie_word_embeddings=True, rope_parameters=LINEAR)),
    "SmolLM2 (Llama, tied)": ("Llama", dict(tie_word_embeddings=True)),
    "Mistral": ("Mistral", dict(tie_word_embeddings=False, sliding_window=None)),
    "Mistral, window of 24": ("Mistral", dict(tie_word_embeddings=False, sliding_window=24)),
    "Qwen2": ("Qwen2", dict(tie_word_embeddings=True)),
    "Qwen2, window above layer 1": ("Qwen2", dict(tie_word_embeddings=True, max_window_layers=1, **WINDOW)),
    "Qwen3": ("Qwen3", dict(tie_word_embeddings=True, head_dim=16)),
    "Qwen3, window in layer 1": ("Qwen3", dict(tie_word_embeddings=True, head_dim=16, layer_types=MIXED, **WINDOW)),
    "GPT-2": ("GPT2", {}),
    "GPT-2, heads of 3, other width": ("GPT2", dict(n_head=32, n_inner=100)),
}
# A GPT-2's modules by our names; a list's weights are one after the other, `True` means transposed.
GPT2_MODULES = {
    "wte": ("embed_tokens", False),
    "wpe": ("embed_positions", False),
    "ln_f": ("norm", False),
    "ln_1": ("input_layernorm", False),
    "ln_2": ("post_attention_layernorm", False),
    "attn.c_attn": (["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"], True),
    "attn.c_proj": ("self_attn.o_proj", True),
    "mlp.c_fc": ("mlp.up_proj", True),
    "mlp.c_proj": ("mlp.down_proj", True),
}
TOKENIZER = {
    "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
    "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": None, "decoder": None,
    "model": {"type": "WordLevel", "vocab": {f"t{at}": at for at in range(VOCABULARY)}, "unk_token": "t0"},
}


def made(family, own):
    torch.manual_seed(1)
    common = GPT2 if family == "GPT2" else COMMON
    config = getattr(transformers, f"{family}Config")(**{**common, **own})
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 1:  # biases and norms at other values than their first
                weight.add_(0.2 * torch.randn_like(weight))
    return model


def gradient(found, name):
    """Ours of the parameter that is called `name` there."""
    if not name.startswith("transformer."):
        return found[name]
    module, end = name.removeprefix("transformer.").rsplit(".", 1)
    place = "model."
    if module.startswith("h."):
        _, layer, module = module.split(".", 2)
        place += f"layers.{layer}."
    parts, transposed = GPT2_MODULES[module]
    parts = [parts] if isinstance(parts, str) else parts
    whole = torch.cat([found[f"{place}{part}.{end}"] for part in parts])
    return whole.t() if transposed and end == "weight" else whole


def check(program, name, family, own):
    model = made(family, own)
    ids = torch.randint(2, VOCABULARY, (LENGTH + 1,), generator=torch.Generator().manual_seed(2))
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        model.save_pretrained(place / "theirs")
        (place / "theirs" / "tokenizer.json").write_text(json.dumps(TOKENIZER))
        (place / "tokens.json").write_text(json.dumps(ids.tolist()))
        subprocess.run([program, place / "theirs", place / "tokens.json", place / "ours"], check=True)
        found = load_file(place / "ours" / "forward.safetensors")
        back = transformers.AutoModelForCausalLM.from_pretrained(place / "ours" / "saved").eval()
    logits = model(ids[None, :-1]).logits[0]
    torch.nn.functional.cross_entropy(logits, ids[1:]).backward()
    difference = (found["logits"] - logits.detach()).abs()
    with torch.no_grad():
        again = (back(ids[None, :-1]).logits[0] - logits).abs().max().item()
    gradients = [
        ((gradient(found, parameter) - weight.grad).norm() / weight.grad.norm()).item()
        for parameter, weight in model.named_parameters()
    ]
    worst, mean = difference.max().item(), difference.mean().item()
    good = worst <= 1e-4 and mean <= 1e-5 and again <= 1e-4 and max(gradients) <= 1e-3
    print(
        f"| {name} | {worst:.1e} | {mean:.1e} | {max(gradients):.1e} | {again:.1e} | {type(back).__name__} | "
        f"{'equal' if good else 'DIFFERENT'} |",
        flush=True,
    )
    return good


def main():
    torch.set_num_threads(2)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    print("| family | logits, largest difference | mean | gradients, largest relative | saved by us, logits | opens as | |")
    print("|---|--:|--:|--:|--:|---|---|")
    results = [check(sys.argv[1], name, *made_of) for name, made_of in FAMILIES.items()]
    raise SystemExit(0 if all(results) else 1)


main()
