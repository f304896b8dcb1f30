"""Freezes a few outputs of other programs for the tests of this one. Run by fixtures.sh.

Weights are drawn by `numbers`, which the tests have as well, so that no file of weights is kept.
"""

import json
import tempfile
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import gguf
import lm_eval
import peft
import torch
import transformers
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM
from safetensors.torch import load_file
from tokenizers import Tokenizer, models

COMMAND = "scripts/check/fixtures.sh"
MODEL_FIXTURES = Path("crates/model/tests/fixtures")
EVAL_FIXTURES = Path("crates/eval/tests/fixtures")
COMMON = dict(
    vocab_size=23, hidden_size=16, intermediate_size=20, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
    max_position_embeddings=64, rms_norm_eps=1e-5, hidden_act="silu", bos_token_id=0, eos_token_id=1,
    tie_word_embeddings=False,
)
LLAMA3 = dict(
    rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16,
)
FAMILIES = {
    "Llama": ("LlamaConfig", dict(rope_theta=10000.0)),
    "Llama 3, tied and stretched": ("LlamaConfig", dict(rope_theta=5e5, rope_scaling=LLAMA3, tie_word_embeddings=True)),
    "Mistral with a window": ("MistralConfig", dict(rope_theta=10000.0, sliding_window=5)),
    "Qwen2": ("Qwen2Config", dict(rope_theta=1e6)),
    "Qwen3": ("Qwen3Config", dict(rope_theta=1e6, head_dim=8)),
}
IDS = [0, 5, 17, 3, 22, 9, 9, 1, 14, 20, 6, 11]


def numbers(seed, shape, around, spread):
    """Numbers around − spread to around + spread by a linear congruential generator."""
    count = 1
    for side in shape:
        count *= side
    state, values = (seed * 2654435761 + 12345) % 2**32, []
    for _ in range(count):
        state = (1664525 * state + 1013904223) % 2**32
        values.append(around + spread * (state / 2**31 - 1.0))
    return torch.tensor(values, dtype=torch.float64).reshape(shape).float()


def fill(parameters):
    """Gives each parameter its numbers, by its place in the order of names: vectors around 1, matrices around 0."""
    with torch.no_grad():
        for seed, name in enumerate(sorted(parameters)):
            tensor = parameters[name]
            around, spread = (1.0, 0.4) if tensor.dim() == 1 else (0.0, 0.5)
            tensor.copy_(numbers(seed, tuple(tensor.shape), around, spread))


def rounded(tensor):
    return [float(f"{value:.7g}") for value in tensor.detach().flatten().tolist()]


def write(path, versions, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    made = {"command": COMMAND, "made by": versions}
    path.write_text(json.dumps({**made, **content}, indent=1, ensure_ascii=False) + "\n")
    print(f"wrote {path}")


def model_of(family):
    name, own = FAMILIES[family]
    config = getattr(transformers, name)(**{**COMMON, **own})
    config._attn_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    fill(dict(model.named_parameters()))
    return model


def transformers_fixture():
    cases = {}
    for family in FAMILIES:
        model = model_of(family)
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            config = json.loads((Path(folder) / "config.json").read_text())
        with torch.no_grad():
            logits = model(torch.tensor([IDS])).logits
        cases[family] = {
            "config": config,
            "parameters": sorted(dict(model.named_parameters())),
            "logits": rounded(logits),
        }
    write(MODEL_FIXTURES / "transformers.json", {"transformers": transformers.__version__}, {"ids": IDS, "cases": cases})


def peft_fixture():
    cases = {}
    for name, own in {
        "LoRA": dict(),
        "rsLoRA": dict(use_rslora=True),
        "DoRA": dict(use_dora=True),
        "rsDoRA": dict(use_rslora=True, use_dora=True),
    }.items():
        base = model_of("Llama")
        lora = peft.LoraConfig(
            r=4, lora_alpha=10, lora_dropout=0.0, target_modules=["q_proj", "o_proj", "down_proj"], task_type="CAUSAL_LM", **own
        )
        model = peft.get_peft_model(base, lora).eval()
        own = {key: value for key, value in model.named_parameters() if "lora_" in key}
        # By the names in the file, where they have no adapter's name.
        fill({key.replace(".default", ""): value for key, value in own.items()})
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            config = json.loads((Path(folder) / "adapter_config.json").read_text())
            saved = load_file(Path(folder) / "adapter_model.safetensors")
            shapes = {key: list(value.shape) for key, value in saved.items()}
        with torch.no_grad():
            logits = model(torch.tensor([IDS])).logits
        cases[name] = {"config": config, "shapes": dict(sorted(shapes.items())), "logits": rounded(logits)}
    write(MODEL_FIXTURES / "peft.json", {"peft": peft.__version__}, {"ids": IDS, "cases": cases})


def gguf_fixture():
    """Names of the tensors and keys that an export has, taken from llama.cpp's own package by their constants."""
    keys, shape, attention, rope, tokenizer = gguf.Keys.General, gguf.Keys.LLM, gguf.Keys.Attention, gguf.Keys.Rope, gguf.Keys.Tokenizer
    general = [
        keys.ARCHITECTURE, keys.TYPE, keys.FILE_TYPE, keys.QUANTIZATION_VERSION, tokenizer.MODEL, tokenizer.PRE, tokenizer.LIST,
        tokenizer.TOKEN_TYPE, tokenizer.MERGES, tokenizer.SCORES, tokenizer.BOS_ID, tokenizer.EOS_ID, tokenizer.EOT_ID,
        tokenizer.UNK_ID, tokenizer.PAD_ID, tokenizer.ADD_BOS, tokenizer.ADD_PREFIX, tokenizer.CHAT_TEMPLATE,
    ]
    own = [
        shape.VOCAB_SIZE, shape.CONTEXT_LENGTH, shape.EMBEDDING_LENGTH, shape.BLOCK_COUNT, shape.FEED_FORWARD_LENGTH,
        attention.HEAD_COUNT, attention.HEAD_COUNT_KV, attention.KEY_LENGTH, attention.VALUE_LENGTH,
    ]
    rotary = [attention.LAYERNORM_RMS_EPS, rope.DIMENSION_COUNT, rope.FREQ_BASE]
    stretch = [rope.SCALING_TYPE, rope.SCALING_FACTOR]
    cases = {}
    for architecture in ("LLAMA", "QWEN2", "QWEN3", "GPT2"):
        kind = getattr(gguf.MODEL_ARCH, architecture)
        name = gguf.MODEL_ARCH_NAMES[kind]
        named = own + (rotary if architecture != "GPT2" else [attention.LAYERNORM_EPS])
        tensors = [gguf.TENSOR_NAMES[tensor] for tensor in gguf.MODEL_TENSORS[kind]]
        # Those of experts, and one that no file has any more.
        tensors = [name for name in tensors if not name.endswith(("_exps", "_gate_inp", "_rot_embd"))]
        cases[name] = {
            "keys": sorted(key.format(arch=name) for key in named),
            "stretched": sorted(key.format(arch=name) for key in stretch),
            "tensors": sorted(tensors),
        }
    write(MODEL_FIXTURES / "gguf.json", {"gguf": version("gguf")}, {"general": sorted(general), "architectures": cases})


LETTERS = ["<|endoftext|>", " ", "a", "b", "c", "d", "e", "f", "é", "ß", "日", "本", "🙂", "€"]


def word(number):
    length = number * 7 % 6 + 1
    return "".join(LETTERS[2 + (number * 5 + at * (number % 3 + 1)) % 12] for at in range(length))


def likeliest(model, context, delimiter):
    """The letter that the model itself gives next."""
    ids = [LETTERS.index(letter) for letter in context + delimiter]
    with torch.no_grad():
        return LETTERS[model(torch.tensor([ids])).logits[0, -1].argmax()]


def harness_fixture():
    tokenizer = Tokenizer(models.BPE(vocab={letter: at for at, letter in enumerate(LETTERS)}, merges=[]))
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|endoftext|>", eos_token="<|endoftext|>"
    )
    config = transformers.LlamaConfig(**{**COMMON, "vocab_size": len(LETTERS), "bos_token_id": 0, "eos_token_id": 0})
    config._attn_implementation = "eager"
    model = transformers.LlamaForCausalLM(config).eval()
    fill(dict(model.named_parameters()))
    harness = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4, device="cpu", add_bos_token=False)
    items = []
    for number in range(40):
        items.append({
            "context": f"{word(number)} {word(number + 3)}" if number % 8 else "",
            "choices": [word(number * 11 + at * 5) for at in range(1, 4 + number % 2)],
            "answer": number % 3,
            "target_delimiter": "" if number % 4 == 0 else " ",
        })
        if number % 8 == 4:
            # Without a delimiter, so that greedy decoding gives the whole choice.
            items[-1]["choices"][1] = likeliest(model, items[-1]["context"], "")
    requests = [
        SimpleNamespace(args=(item["context"], item["target_delimiter"] + choice))
        for item in items for choice in item["choices"]
    ]
    results = iter(harness.loglikelihood(requests, disable_tqdm=True))
    # Attributes of a task that the method for `acc` and `acc_norm` reads.
    task = SimpleNamespace(
        OUTPUT_TYPE="multiple_choice", config=SimpleNamespace(process_results=None), multiple_input=False, multiple_target=False,
        _metric_fn_list={"acc": None, "acc_norm": None},
        doc_to_choice=lambda doc: doc["choices"], doc_to_target=lambda doc: doc["answer"],
    )
    for item in items:
        own = [next(results) for _ in item["choices"]]
        item["log_likelihoods"] = [float(f"{value:.7g}") for value, _ in own]
        item["greedy"] = [bool(greedy) for _, greedy in own]
        item.update(ConfigurableTask.process_results(task, item, own))
    write(
        EVAL_FIXTURES / "harness.json", {"lm_eval": lm_eval.__version__, "transformers": transformers.__version__},
        {"letters": LETTERS, "config": config.to_dict(), "items": items},
    )


if __name__ == "__main__":
    transformers_fixture()
    peft_fixture()
    gguf_fixture()
    harness_fixture()
