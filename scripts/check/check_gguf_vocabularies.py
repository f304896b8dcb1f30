"""Real vocabularies, as llama.cpp's source has them for its own tests, through our import and export. Run by scripts/check/gguf.sh.

Each is put into a small random model. What we import of it must read the texts beside it as is written there, and what we
export again must be read by llama.cpp with the same tokens as the original. Prints a table.
"""

import struct
import subprocess
import sys
import tempfile
import unicodedata
from pathlib import Path

import llama_cpp
import numpy
from check_gguf import TEXTS, fuzz
from gguf_keys import F32, TEXT, U32, packed, read_keys
from tokenizers import Tokenizer

# Description of each vocabulary.
VOCABULARIES = {
    "llama-spm": "pieces, of Llama 2",
    "phi-3": "pieces, with tokens of its own",
    "llama-bpe": "bytes, of Llama 3",
    "gpt-2": "bytes",
    "qwen2": "bytes, composed",
    "starcoder": "bytes, lone digits",
    "refact": "bytes, lone digits",
    "command-r": "bytes, lone digits",
}
SHAPE = dict(
    context_length=64, embedding_length=32, block_count=1, feed_forward_length=32, **{"attention.head_count": 1},
)  # fmt: skip


def write_model(vocabulary, file):
    """A small random Llama with the vocabulary's tokenizer."""
    keys = {name: value for name, value in read_keys(vocabulary).items() if name.startswith("tokenizer.")}
    size = struct.unpack("<Q", keys["tokenizer.ggml.tokens"][8:16])[0]
    keys["general.architecture"] = struct.pack("<I", TEXT) + packed("llama")
    keys |= {f"llama.{name}": struct.pack("<II", U32, value) for name, value in SHAPE.items()}
    keys["llama.attention.layer_norm_rms_epsilon"] = struct.pack("<If", F32, 1e-5)
    width = SHAPE["embedding_length"]
    square = [f"blk.0.{part}.weight" for part in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")]
    shapes = {"token_embd.weight": (size, width), **dict.fromkeys(square, (width, width))}
    shapes |= dict.fromkeys(["output_norm.weight", "blk.0.attn_norm.weight", "blk.0.ffn_norm.weight"], (width,))
    head = b"GGUF" + struct.pack("<IQQ", 3, len(shapes), len(keys))
    head += b"".join(packed(name) + value for name, value in keys.items())
    data, draw = b"", numpy.random.default_rng(1)
    for name, shape in shapes.items():
        # The width first, type 0 is f32, and the place in the data.
        dimensions = struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
        head += packed(name) + dimensions + struct.pack("<IQ", 0, len(data))
        data += draw.normal(size=shape).astype("<f4").tobytes()
    file.write_bytes(head + bytes(-len(head) % 32) + data)


def reader_of(file):
    return llama_cpp.Llama(str(file), vocab_only=True, verbose=False)


def expected(vocabulary):
    """The texts beside a vocabulary, and their tokens."""
    texts = vocabulary.with_suffix(".gguf.inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")
    tokens = vocabulary.with_suffix(".gguf.out").read_text().splitlines()
    return [(text, [int(token) for token in line.split()]) for text, line in zip(texts, tokens)]


def check(polymath, vocabulary, kind, place):
    model, folder, back = place / "model.gguf", place / "folder", place / "back.gguf"
    write_model(vocabulary, model)
    for command in (["import", model, "-o", folder], ["export", folder, "--gguf", back, "--type", "f32"]):
        subprocess.run([polymath, "--quiet", "--device", "cpu", *command], check=True, stdout=subprocess.DEVNULL)
    ours = Tokenizer.from_file(str(folder / "tokenizer.json"))
    beside = expected(vocabulary)
    told = sum(ours.encode(text, add_special_tokens=False).ids == ids for text, ids in beside)
    texts = [*(text for text, _ in beside), *TEXTS, *fuzz()]
    # `</s>` llama.cpp takes for special wherever it is a token, and NFC it does not know.
    texts = [unicodedata.normalize("NFC", text.replace("</s>", "")) for text in texts]
    original, again = reader_of(vocabulary), reader_of(back)
    read = same = 0
    for sample in texts:
        for special in (False, True):
            ours.encode_special_tokens = not special
            theirs = original.tokenize(sample.encode(), add_bos=False, special=special)
            mine = ours.encode(sample, add_special_tokens=False).ids
            if mine != theirs:
                print(f"{vocabulary.stem}: other tokens for {sample!r}, special tokens read: {special}", file=sys.stderr)
            read += mine == theirs
            same += again.tokenize(sample.encode(), add_bos=False, special=special) == theirs
    every = 2 * len(texts)
    good = told == len(beside) and read == same == every
    name = vocabulary.stem.removeprefix("ggml-vocab-")
    cells = [name, kind, f"{told}/{len(beside)}", f"{read}/{every}", f"{same}/{every}", "good" if good else "DIFFERENT"]
    print(f"| {' | '.join(cells)} |", flush=True)
    return good


def main():
    polymath, vocabularies, scratch = sys.argv[1:]
    print("| vocabulary | | texts beside it | imported, all texts | exported again | |")
    print("|---|---|--:|--:|--:|---|")
    good = True
    for name, kind in VOCABULARIES.items():
        with tempfile.TemporaryDirectory(dir=scratch) as place:
            good &= check(polymath, Path(vocabularies) / f"ggml-vocab-{name}.gguf", kind, Path(place))
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
