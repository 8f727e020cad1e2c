#!/usr/bin/env python3
"""Writes tests/goldens/tokenizers/: what the `tokenizers` package makes of awkward_lines.txt, of a megabyte of mixed text, and of each stage.

  NAME.json          a tokenizer with the stages and regular expressions of GPT-2, Llama-2, Llama-3, Qwen2; vocabularies trained here
  NAME.ids           a line for each awkward line: its ids; MiniLM's and SmolLM2's too
  NAME.hashes        a line for each block of 256 lines of the mixed text: FNV-1a of the ids; then FNV-1a of the awkward lines decoded
  stages.json        each stage alone: configuration, texts, ids
  decoders.json      each decoder alone
  characters.txt     FNV-1a of each property, normal form and case over all code points

Needs: pip install tokenizers.  Usage: write_tokenizer_goldens.py MODELS DATA
  MODELS: minilm/tokenizer.json and smollm2/tokenizer.json; DATA: text files to train the vocabularies on
"""
import json
import pathlib
import sys

from tokenizers import AddedToken, Regex, Tokenizer
from tokenizers import decoders as dec
from tokenizers import models, trainers
from tokenizers import normalizers as norm
from tokenizers import pre_tokenizers as pre
from tokenizers import processors as proc

HERE = pathlib.Path(__file__).parent
OUT = HERE / "tokenizers"
LINES = (HERE / "awkward_lines.txt").read_bytes()[:-1].split(b"\n")
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace("{1,3}", "")


def fnv(data, state=0xCBF29CE484222325):
    for byte in data:
        state = (state ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return state


def text(line):
    return line.decode("utf-8", errors="replace")


# The mixed text. tests/loaders/mixed_text.h makes the same bytes.
RANGES = [(0x20, 0x7E), (0xA0, 0x24F), (0x300, 0x36F), (0x370, 0x52F), (0x590, 0x6FF), (0x900, 0xDFF), (0xE00, 0xFFF), (0x1100, 0x11FF),
          (0x1E00, 0x1FFF), (0x2000, 0x2BFF), (0x3000, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xF900, 0xFAFF), (0xFE00, 0xFFEF),
          (0x10000, 0x107FF), (0x1D100, 0x1D7FF), (0x1F000, 0x1FAFF), (0x20000, 0x2FFFF), (0xE0000, 0xE01FF)]


def mixed_text(size):
    state = 1

    def draw(n):
        nonlocal state
        state = (state * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
        return (state >> 33) % n

    words = [word for line in LINES for word in line.split(b" ") if word and len(word) <= 40]
    out, total = [], 0
    while total < size:
        line = b""
        for _ in range(1 + draw(8)):
            line += [b" ", b"", b"  ", b", "][draw(4)]
            kind = draw(5)
            if kind == 0:
                line += LINES[draw(len(LINES))]
            elif kind == 1:
                low, high = RANGES[draw(len(RANGES))]
                line += b"".join(chr(low + draw(high - low + 1)).encode() for _ in range(1 + draw(12)))
            elif kind == 4:
                line += b"%d" % draw(1000000000)
            else:
                line += b" ".join(words[draw(len(words))] for _ in range(1 + draw(10)))
        out.append(line)
        total += len(line) + 1
    return out


def template(prefix, tokenizer):
    id = tokenizer.token_to_id(prefix)
    return proc.TemplateProcessing(single=f"{prefix} $A", pair=f"{prefix} $A {prefix}:1 $B:1", special_tokens=[(prefix, id)])


def added(content, **options):
    return AddedToken(content, **{"normalized": False, **options})


def byte_level(split, vocab_size, specials, corpus, normalizer=None):
    tokenizer = Tokenizer(models.BPE())
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = dec.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=specials, initial_alphabet=pre.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer


def gpt2(corpus):
    tokenizer = byte_level(pre.ByteLevel(add_prefix_space=False), 2500, ["<|endoftext|>"], corpus)
    tokenizer.post_processor = proc.ByteLevel(trim_offsets=False)
    tokenizer.add_tokens([added("<extra>", special=False), added("<word>", single_word=True), added("<left>", lstrip=True), added("<right>", rstrip=True)])
    return tokenizer


def llama3(corpus):
    split = pre.Sequence([pre.Split(Regex(LLAMA3), "isolated"), pre.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer = byte_level(split, 2500, ["<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>"], corpus)
    tokenizer.post_processor = proc.Sequence([proc.ByteLevel(trim_offsets=False), template("<|begin_of_text|>", tokenizer)])
    raw = json.loads(tokenizer.to_str())
    raw["model"]["ignore_merges"] = True
    return Tokenizer.from_str(json.dumps(raw))


def qwen2(corpus):
    split = pre.Sequence([pre.Split(Regex(QWEN2), "isolated"), pre.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer = byte_level(split, 2500, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], corpus, norm.NFC())
    tokenizer.post_processor = proc.ByteLevel(trim_offsets=False)
    return tokenizer


def llama2(corpus):
    """SentencePiece style: bytes for unknown characters, ▁ for spaces, no pre-tokenizer."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = norm.Sequence([norm.Prepend("\u2581"), norm.Replace(" ", "\u2581")])
    tokenizer.pre_tokenizer = pre.Metaspace(prepend_scheme="never")
    tokenizer.decoder = dec.Sequence([dec.Replace("\u2581", " "), dec.ByteFallback(), dec.Fuse(), dec.Strip(" ", 1, 0)])
    specials = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % byte for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=3000, special_tokens=specials, limit_alphabet=120, show_progress=False)
    tokenizer.train_from_iterator(corpus, trainer)
    raw = json.loads(tokenizer.to_str())
    raw["added_tokens"] = [token for token in raw["added_tokens"] if not token["content"].startswith("<0x")]
    raw["added_tokens"][2]["normalized"] = True  # </s>, which the normalizer then makes ▁</s>
    raw["pre_tokenizer"] = None
    tokenizer = Tokenizer.from_str(json.dumps(raw))
    tokenizer.add_tokens([added("<Norm>", normalized=True)])
    tokenizer.post_processor = template("<s>", tokenizer)
    return tokenizer


def smollm2(models_folder):
    """The stages of SmolLM2's own file; the one unpacked from GGUF lacks Digits."""
    raw = json.loads((models_folder / "smollm2" / "tokenizer.json").read_text())
    raw["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
        {"type": "Digits", "individual_digits": True},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}]}
    return Tokenizer.from_str(json.dumps(raw))


def minilm(models_folder):
    tokenizer = Tokenizer.from_file(str(models_folder / "minilm" / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def write_pipeline(name, tokenizer, mixed):
    encodings = [tokenizer.encode(text(line)) for line in LINES]
    (OUT / f"{name}.ids").write_text("".join(" ".join(map(str, each.ids)) + "\n" for each in encodings))
    hashes = []
    for start in range(0, len(mixed), 256):
        ids = bytearray()
        for each in tokenizer.encode_batch_fast([text(line) for line in mixed[start:start + 256]]):
            for id in each.ids + [0xFFFFFFFF]:
                ids += id.to_bytes(4, "little")
        hashes.append(fnv(ids))
    for skip in (True, False):
        hashes.append(fnv(b"\n".join(tokenizer.decode(each.ids, skip_special_tokens=skip).encode() for each in encodings)))
    (OUT / f"{name}.hashes").write_text("".join(f"{each:016x}\n" for each in hashes))


# One stage at a time. In this vocabulary a letter that begins a piece and one inside have different ids.
STAGE_TEXTS = ["Hello, World! It's 12 o'clock", "  two  spaces   ", "a-b--c---d", "-a-", "caf\u00e9 \u00c9T\u00c9 e\u0301", "ab12cd345 \u0663\u00bd\u00b2", "x\ny\r\nz \n", "\u4e2d\u6587 a\u3000b", "\u2581a \u2581b", "A", "", " ", "a_b.c,d;e", "\u0130I\u0307 \u00df\u017f", "\ufb01\u2460", "don't DON'T", "\U0001f600a\U0001f600"]
STAGE_PAIR = ["ab c", "d"]


def stage_vocabulary():
    letters = sorted(set("".join(STAGE_TEXTS)) | set(chr(c) for c in range(0x21, 0x7F)) | {"i", "\u0307", "\u0301", "f", "1", "s", "\u00e9", "\u00c9", "\u2581", "\u0120", "\u010a"})
    tokens = ["[UNK]", "[CLS]", "[SEP]"] + letters + ["##" + letter for letter in letters]
    return {token: id for id, token in enumerate(tokens)}


def split(pattern, behavior, invert=False):
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}


BEHAVIORS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]
REGEXES = [GPT2, LLAMA3, QWEN2, r"\s+", r"\S+", r"\w+|[^\w\s]+", r"\W", r"\d+", r"\D", "$", "^", ".", "x*", r"\p{L}+", r"\P{L}", r"\p{^L}", r"\p{Lu}\p{Ll}*", r"\p{Han}+", "[a-d]", "[^a-d]",
           r"[\s\d]", r"[^\s\p{L}]+", r"\h+", "a{1,2}", "-{,2}", "-{2}", "-{2,}?b", "(?i:a|it)", "(?i)[a-d]", "(?<=a)-", "(?<!a)-", "-(?=b)", "-(?!b)", "(?>-+)", "-++", "-?+", r"[\r\n]+", r"\x{61}", r"\u0062", r"\x41", "{", "}", r"[\-\]]", r"\Z", r"\A", r"\p{N}{1,3}(?=(?:\p{N}{3})*$)", r" ?[^(\s|[.,!?\u2026\u3002])]+"]
NORMALIZERS = [{"type": name} for name in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "ByteLevel")] + [
    {"type": "Strip", "strip_left": left, "strip_right": right} for left in (True, False) for right in (True, False)] + [
    {"type": "BertNormalizer", "clean_text": clean, "handle_chinese_chars": han, "strip_accents": accents, "lowercase": lower}
    for clean in (True, False) for han in (True, False) for accents in (True, False, None) for lower in (True, False)] + [
    {"type": "Prepend", "prepend": "a"}, {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
    {"type": "Replace", "pattern": {"Regex": "[a-d]+|'"}, "content": "xy"}, {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": ""},
    {"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "StripAccents"}, {"type": "Lowercase"}]}, {"type": "Sequence", "normalizers": []}]
PRE_TOKENIZERS = [{"type": name} for name in ("BertPreTokenizer", "Whitespace", "WhitespaceSplit")] + [
    {"type": "Digits", "individual_digits": each} for each in (True, False)] + [{"type": "Punctuation", "behavior": each} for each in BEHAVIORS] + [
    {"type": "Metaspace", "replacement": mark, "prepend_scheme": scheme, "split": each} for mark in ("\u2581", "a") for scheme in ("always", "first", "never") for each in (True, False)] + [
    {"type": "ByteLevel", "add_prefix_space": space, "trim_offsets": True, "use_regex": each} for space in (True, False) for each in (True, False)] + [
    split({"String": "-"}, behavior, invert) for behavior in BEHAVIORS for invert in (False, True)] + [
    split({"Regex": r"-+|\s"}, behavior, invert) for behavior in BEHAVIORS for invert in (False, True)] + [
    split({"Regex": regex}, "Isolated") for regex in REGEXES] + [split({"Regex": regex}, "Removed") for regex in REGEXES] + [
    {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, {"type": "Punctuation", "behavior": "Isolated"}, {"type": "Digits", "individual_digits": True}]},
    {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": True}]},
    {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}]}]
CLS, SEP = ["[CLS]", 1], ["[SEP]", 2]


def piece(name, type_id=0):
    return {"Sequence": {"id": name, "type_id": type_id}} if name in "AB" else {"SpecialToken": {"id": name, "type_id": type_id}}


PROCESSORS = [None, {"type": "BertProcessing", "sep": SEP, "cls": CLS}, {"type": "RobertaProcessing", "sep": SEP, "cls": CLS, "trim_offsets": True, "add_prefix_space": False},
              {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
              {"type": "TemplateProcessing", "single": [piece("[CLS]", 3), piece("A", 4)], "pair": [piece("B", 2), piece("[SEP]", 1), piece("A", 0), piece("[CLS]", 5)],
               "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [1, 2], "tokens": ["[CLS]", "[SEP]"]}, "[SEP]": {"id": "[SEP]", "ids": [2], "tokens": ["[SEP]"]}}}]
PROCESSORS.append({"type": "Sequence", "processors": [PROCESSORS[3], PROCESSORS[4]]})


def stage_cases():
    vocabulary = stage_vocabulary()

    def tokenizer(**stages):
        model = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocabulary}
        return Tokenizer.from_str(json.dumps({"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
                                              "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": None, "decoder": None, **stages, "model": model}))

    cases = []
    for key, stages in (("normalizer", NORMALIZERS), ("pre_tokenizer", PRE_TOKENIZERS)):
        for stage in stages:
            encoder = tokenizer(**{key: stage})
            cases.append({key: stage, "ids": [encoder.encode(each).ids for each in STAGE_TEXTS]})
    processors = []
    for stage in PROCESSORS:
        encoder = tokenizer(post_processor=stage)
        entry = {"post_processor": stage, "encodings": []}
        for special in (True, False):
            for encoding in (encoder.encode(STAGE_PAIR[0], add_special_tokens=special), encoder.encode(*STAGE_PAIR, add_special_tokens=special)):
                entry["encodings"].append([encoding.ids, encoding.type_ids])
        processors.append(entry)
    return {"vocab": vocabulary, "texts": STAGE_TEXTS, "pair": STAGE_PAIR, "cases": cases, "processors": processors}


DECODER_TOKENS = ["\u2581Hello", "\u2581", "ing", "##ing", ".", "'", "n't", "do not", "<0xE4>", "<0xB8>", "<0xAD>", "<0x41>", "\u0120word", "\u00e4\u00b8", "\u0143", "x</w>", "</w>", " lead", "  two", "trail ", "caf\u00e9", "a", "<0xF0>"]
DECODERS = [None, {"type": "WordPiece", "prefix": "##", "cleanup": True}, {"type": "WordPiece", "prefix": "##", "cleanup": False}, {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}, {"type": "Strip", "content": " ", "start": 2, "stop": 1}, {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
            {"type": "Replace", "pattern": {"Regex": "[a-e]+"}, "content": "-"}, {"type": "BPEDecoder", "suffix": "</w>"}] + [
            {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": True} for scheme in ("always", "first", "never")] + [
            {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}]


def decoder_cases():
    vocabulary = {token: id for id, token in enumerate(DECODER_TOKENS)}
    n, state, sequences = len(DECODER_TOKENS), 7, [[id] for id in range(len(DECODER_TOKENS))] + [[8, 9, 10], [8, 9], [8, 9, 10, 8], [11, 8, 9, 10, 11], [22, 0], [1, 0, 1, 0]]
    for length in range(2, 12):
        row = []
        for _ in range(length):
            state = (state * 1103515245 + 12345) % 2**31
            row.append((state >> 8) % n)
        sequences.append(row)
    cases = []
    for stage in DECODERS:
        raw = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": stage,
               "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "a"}}
        tokenizer = Tokenizer.from_str(json.dumps(raw))
        cases.append({"decoder": stage, "texts": [tokenizer.decode(row) for row in sequences]})
    return {"vocab": vocabulary, "sequences": sequences, "cases": cases}


def character_hashes():
    codes = [code for code in range(1, 0x110000) if not 0xD800 <= code < 0xE000]

    def bert(**on):
        return norm.BertNormalizer(**{**dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False), **on})

    def removed_by(normalizer):
        return bytes(normalizer.normalize_str(chr(code)) == "" for code in codes)

    def split_by(pre_tokenizer):
        return bytes(len(pre_tokenizer.pre_tokenize_str("\u4e00" + chr(code) + "\u4e00")) > 1 for code in codes)

    def matched_by(pattern):
        return split_by(pre.Split(Regex(pattern), "isolated"))

    word = pre.Whitespace()
    out = {"letter": bytes(len(pre.Split(Regex(r"\p{L}"), "removed").pre_tokenize_str(chr(code))) == 0 for code in codes), "number": matched_by(r"\p{N}"), "numeric": split_by(pre.Digits(True)), "space": split_by(pre.WhitespaceSplit()),
           "control": removed_by(bert(clean_text=True)), "nonspacing": removed_by(bert(strip_accents=True)), "mark": removed_by(norm.StripAccents()),
           "punctuation": split_by(pre.Punctuation()), "word": bytes(len(word.pre_tokenize_str("a" + chr(code) + "a")) == 1 for code in codes),
           "ideograph": bytes(len(bert(handle_chinese_chars=True).normalize_str(chr(code))) == 3 for code in codes)}
    for name, normalizer in (("nfd", norm.NFD()), ("nfc", norm.NFC()), ("nfkd", norm.NFKD()), ("nfkc", norm.NFKC()), ("lowercase", norm.Lowercase())):
        out[name] = "".join(normalizer.normalize_str(chr(code)) for code in codes).encode()
    return "".join(f"{name} {fnv(data):016x}\n" for name, data in out.items())


def dump(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n"


def main(models_folder, data):
    OUT.mkdir(exist_ok=True)
    corpus = [line for file in data for line in text(pathlib.Path(file).read_bytes()).split("\n")] + [text(line) for line in LINES]
    mixed = mixed_text(1200000)
    for train in (gpt2, llama2, llama3, qwen2):
        tokenizer = train(corpus)
        raw = json.loads(tokenizer.to_str())
        if train is llama2:  # as older files have them
            raw["model"]["merges"] = [" ".join(pair) for pair in raw["model"]["merges"]]
        (OUT / f"{train.__name__}.json").write_text(dump(raw))
        write_pipeline(train.__name__, tokenizer, mixed)
    write_pipeline("minilm", minilm(models_folder), mixed)
    write_pipeline("smollm2", smollm2(models_folder), mixed)
    (OUT / "stages.json").write_text(dump(stage_cases()))
    (OUT / "decoders.json").write_text(dump(decoder_cases()))
    (OUT / "characters.txt").write_text(character_hashes())


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), sys.argv[2:])
