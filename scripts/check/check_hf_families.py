"""Every family of models in `transformers`, and adapters of `peft` on them, against ours, both ways. Run by scripts/check/hf.sh."""

import json
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import peft
import torch
import transformers
from safetensors.torch import load_file

VOCABULARY, LENGTH, CONTINUED = 211, 96, 32
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
ADAPTERS = {
    "LoRA": dict(r=4, lora_alpha=12, use_rslora=True, target_modules=["q_proj", "v_proj", "o_proj", "up_proj", "down_proj"]),
    "DoRA": dict(r=4, lora_alpha=12, use_dora=True, target_modules=["q_proj", "k_proj", "gate_proj", "down_proj"]),
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


def ours(program, folder, place, ids):
    """Runs our program on a folder and these tokens. Returns its tensors, and the folder that it wrote."""
    (place / "tokens.json").write_text(json.dumps(ids.tolist()))
    out = place / f"{folder.name}-by-us"
    subprocess.run([program, folder, place / "tokens.json", out], check=True)
    return load_file(out / "forward.safetensors"), out


def opened(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder).eval()


def logits_of(model, ids):
    with torch.no_grad():
        return model(ids[None, :-1]).logits[0]


def continued(model, ids):
    """Greedy text after the first half of the tokens, without the token that ends it."""
    start = len(ids) // 2
    made = model.generate(ids[None, :start], do_sample=False, max_new_tokens=CONTINUED)[0, start:].tolist()
    return made[:-1] if made[-1] == model.config.eos_token_id else made


def compare(model, found, ids, named):
    """Ours against theirs: the largest and the mean difference of logits, that of the loss, the largest of gradients
    (relative to their length), and whether greedy text is equal."""
    logits = model(ids[None, :-1]).logits[0]
    loss = torch.nn.functional.cross_entropy(logits, ids[1:])
    loss.backward()
    difference = (found["logits"] - logits.detach()).abs()
    gradients = [
        ((named(found, name) - weight.grad).norm() / weight.grad.norm()).item()
        for name, weight in model.named_parameters()
        if weight.requires_grad
    ]
    return {
        "largest": difference.max().item(),
        "mean": difference.mean().item(),
        "loss": abs(found["loss"].item() - loss.item()),
        "gradients": max(gradients),
        "greedy": found["greedy"].tolist() == continued(model, ids),
    }


def differs(model, logits, ids):
    return (logits_of(model, ids) - logits).abs().max().item()


def adapted(place, config):
    """An adapter of `peft` that does something, on the model in `theirs`, and its folder."""
    model = peft.get_peft_model(opened(place / "theirs"), peft.LoraConfig(task_type="CAUSAL_LM", **config)).eval()
    torch.manual_seed(3)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.copy_(0.1 * torch.randn_like(weight))
            elif "magnitude" in name:
                weight.mul_(1 + 0.1 * torch.randn_like(weight))
    folder = place / ("dora" if config.get("use_dora") else "lora")
    model.save_pretrained(folder)
    return model, folder


def adapter_gradient(found, name):
    """Ours of the adapter's parameter that is called `name` there; a magnitude is a module there, a tensor in files."""
    name = name.removeprefix("base_model.model.").replace(".default", "")
    return found[name.replace("lora_magnitude_vector.weight", "lora_magnitude_vector")]


def check_adapter(program, place, config, ids):
    model, folder = adapted(place, config)
    found, out = ours(program, folder, place, ids)
    result = compare(model, found, ids, adapter_gradient)
    logits = logits_of(model, ids)
    back = peft.PeftModel.from_pretrained(opened(place / "theirs"), out / "saved").eval()
    result["saved"] = differs(back, logits, ids)
    merged, here = model.merge_and_unload(), opened(out / "merged")
    weights = dict(merged.named_parameters())
    result["merged"] = max((weight - weights[name]).abs().max().item() for name, weight in here.named_parameters())
    return result


def row(name, result, kind):
    good = (
        result["largest"] <= 1e-4
        and result["mean"] <= 1e-5
        and result["loss"] <= 1e-5
        and result["gradients"] <= 1e-3
        and result["greedy"]
        and result["saved"] <= 1e-4
        and result.get("merged", 0.0) <= 1e-5
    )
    figures = [f"{result[key]:.1e}" for key in ("largest", "mean", "loss", "gradients")]
    merged = f"{result['merged']:.1e}" if "merged" in result else ""
    cells = [name, *figures, "equal" if result["greedy"] else "DIFFERENT", f"{result['saved']:.1e}", merged, kind]
    print(f"| {' | '.join(cells)} | {'good' if good else 'BAD'} |", flush=True)
    return good


def check(program, name, family, own):
    ids = torch.randint(2, VOCABULARY, (LENGTH + 1,), generator=torch.Generator().manual_seed(2))
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        model = made(family, own)
        model.save_pretrained(place / "theirs")
        (place / "theirs" / "tokenizer.json").write_text(json.dumps(TOKENIZER))
        found, out = ours(program, place / "theirs", place, ids)
        back = opened(out / "saved")
        result = compare(model, found, ids, gradient)
        result["saved"] = differs(back, logits_of(model, ids), ids)
        good = row(name, result, type(back).__name__)
        if family != "GPT2":  # to `peft` its queries, keys and values are one projection, and three here
            for adapter, config in ADAPTERS.items():
                good &= row(f"… with {adapter}", check_adapter(program, place, config, ids), "PeftModel")
    return good


def main():
    torch.set_num_threads(2)
    warnings.filterwarnings("ignore", category=FutureWarning)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    columns = "family|logits, largest difference|mean|loss|gradients, largest relative|greedy text|saved by us, logits|"
    columns += "merged, weights|opens as|"
    print(f"| {' | '.join(columns.split('|'))} |")
    print("|---|" + "--:|" * 4 + "---|--:|--:|---|---|")
    results = [check(sys.argv[1], name, *made_of) for name, made_of in FAMILIES.items()]
    raise SystemExit(0 if all(results) else 1)


main()
