"""Small tokenizers of the kinds that models have, trained on text of our own."""

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

WORDS = """the quick brown fox names a noble gas and the lazy dog says argon what is two and three you know chemistry salt
user assistant system question answer hello there yes no more or less one line of text and another one after it""".split()
TEXTS = [" ".join(WORDS[i % len(WORDS)] for i in range(n, n + 9)).capitalize() + "." for n in range(0, 400, 3)]
TEXTS += ["USER: ASSISTANT: SYSTEM: [INST] [/INST]", "user\nassistant\nsystem\n", "12 + 34 = 46?\n\n"] * 20
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _bpe(tokenizer, size, special=(), alphabet=()):
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=list(special), initial_alphabet=list(alphabet), show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def _without_added(tokenizer, keep):
    """The same with no added tokens but these: the others are ordinary entries of the vocabulary."""
    import json

    fields = json.loads(tokenizer.to_str())
    fields["added_tokens"] = [token for token in fields["added_tokens"] if token["content"] in keep]
    return Tokenizer.from_str(json.dumps(fields))


def bytes_gpt2():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    return _bpe(tokenizer, 400, alphabet=pre_tokenizers.ByteLevel.alphabet())


def bytes_qwen():
    """As Qwen's and Llama 3's, whose pre-tokenizer joins marks with the line's end after them."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(QWEN), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return _bpe(tokenizer, 400, alphabet=pre_tokenizers.ByteLevel.alphabet())


def _pieces(tokenizer):
    tokenizer = _bpe(tokenizer, 500, ["<unk>", *BYTES])
    tokenizer = _without_added(tokenizer, ["<unk>"])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def _pieces_model():
    return Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))


def pieces_llama2():
    """SentencePiece as Llama 2's file has it: a space before every stretch between special tokens."""
    tokenizer = _pieces_model()
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("(?=▁)"), "isolated")
    tokenizer = _pieces(tokenizer)
    tokenizer.pre_tokenizer = None
    return tokenizer


def pieces_mistral():
    """SentencePiece as Mistral's newer files have it: a space before the whole text only."""
    tokenizer = _pieces_model()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    tokenizer = _pieces(tokenizer)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    return tokenizer


def pieces_gemma():
    """SentencePiece as Gemma's file has it: no space before anything, the rest in bytes."""
    tokenizer = _pieces_model()
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_previous")
    tokenizer = _pieces(tokenizer)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


def unigram():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def word_piece():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=["[UNK]"], show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def ours():
    """As `prepare` trains them: every digit stands alone."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return _bpe(tokenizer, 400, ["<|endoftext|>"], pre_tokenizers.ByteLevel.alphabet())


KINDS = {
    "bytes, GPT-2": bytes_gpt2,
    "bytes, Qwen": bytes_qwen,
    "pieces, Llama 2": pieces_llama2,
    "pieces, Mistral": pieces_mistral,
    "pieces, Gemma": pieces_gemma,
    "unigram": unigram,
    "word pieces": word_piece,
    "ours": ours,
}
