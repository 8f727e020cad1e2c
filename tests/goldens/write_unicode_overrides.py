#!/usr/bin/env python3
"""Writes loaders/tokenizer/unicode_overrides.h: the code points whose properties the `tokenizers` package and utf8proc see differently.

The package mixes tables of several Unicode versions (its crates' own, Rust's, Oniguruma's). Each property is read out of it by running one
stage on each code point, and compared with libutf8proc's. Needs: pip install tokenizers; libutf8proc 2.8 (Unicode 15).
Usage: write_unicode_overrides.py > loaders/tokenizer/unicode_overrides.h
"""
import ctypes

from tokenizers import Regex, __version__
from tokenizers import normalizers as norm
from tokenizers import pre_tokenizers as pre

proc = ctypes.CDLL("libutf8proc.so.2")
proc.utf8proc_category_string.restype = ctypes.c_char_p
proc.utf8proc_unicode_version.restype = ctypes.c_char_p
CODES = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
CATEGORY = {c: proc.utf8proc_category_string(c).decode() for c in CODES}


def combining_class(c):
    proc.utf8proc_get_property.restype = ctypes.POINTER(ctypes.c_int16)
    return proc.utf8proc_get_property(c)[1]


def ranges(codes):
    out = []
    for c in sorted(codes):
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def removed_by(normalizer):
    return {c for c in CODES if normalizer.normalize_str(chr(c)) == ""}


def split_by(pre_tokenizer):
    return {c for c in CODES if len(pre_tokenizer.pre_tokenize_str("\u4e00" + chr(c) + "\u4e00")) > 1}


def matched_by(pattern):
    split = pre.Split(Regex(pattern), "removed")
    return {c for c in CODES if not split.pre_tokenize_str(chr(c))}


def category(*prefixes):
    return {c for c in CODES if CATEGORY[c].startswith(prefixes)}


def bert(**on):
    options = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    return norm.BertNormalizer(**{**options, **on})


ASCII_PUNCTUATION = set(map(ord, "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"))
CIRCLED_LETTERS = {c for a, b in ((0x24B6, 0x24E9), (0x1F130, 0x1F149), (0x1F150, 0x1F169), (0x1F170, 0x1F189)) for c in range(a, b + 1)}
word = pre.Whitespace()
PROPERTIES = [
    ("Letter", matched_by(r"\p{L}"), category("L")),
    ("Number", matched_by(r"\p{N}"), category("N")),
    ("Numeric", split_by(pre.Digits(individual_digits=True)), category("N")),
    ("Control", removed_by(bert(clean_text=True)), (category("Cc", "Cf", "Co") | {0xFFFD}) - {9, 10, 13}),
    ("Nonspacing", removed_by(bert(strip_accents=True)), category("Mn")),
    ("Mark", removed_by(norm.StripAccents()), category("M")),
    ("Punctuation", split_by(pre.Punctuation()), category("P") | ASCII_PUNCTUATION),
    ("Word", {c for c in CODES if len(word.pre_tokenize_str("a" + chr(c) + "a")) == 1},
     category("L", "M", "Nd", "Nl", "Pc") | {0x200C, 0x200D} | CIRCLED_LETTERS),
]

nfd, nfkd = norm.NFD(), norm.NFKD()
# Moved behind U+0334 (class 1) if and only if its class is above 1; no class in use is between 0 and 1.
starters = {c for c in CODES if combining_class(c) > 1 and nfd.normalize_str(chr(c)) == chr(c)
            and nfd.normalize_str("a" + chr(c) + "\u0334") == "a" + chr(c) + "\u0334"}


def decomposes(c):
    proc.utf8proc_decompose_char.restype = ctypes.c_ssize_t
    buffer, boundary = (ctypes.c_int32 * 32)(), ctypes.c_int(0)
    compat_decompose = 1 << 2 | 1 << 4
    n = proc.utf8proc_decompose_char(c, buffer, ctypes.c_ssize_t(32), compat_decompose, ctypes.byref(boundary))
    return n != 1 or buffer[0] != c


undecomposed = {c for c in CODES if decomposes(c) and nfkd.normalize_str(chr(c)) == chr(c)}
lower = norm.Lowercase()
lowered = [(c, ord(lower.normalize_str(chr(c)))) for c in CODES
           if c != 0x130 and lower.normalize_str(chr(c)) != chr(proc.utf8proc_tolower(c))]


def array(name, codes):
    items = ["{0x%X, 0x%X}" % (a, b) for a, b in ranges(codes)]
    if not items:
        return
    print(f"inline constexpr CodeRange k{name}[] = {{")
    line = "   "
    for i, item in enumerate(items):
        item = " " + item + ("," if i + 1 < len(items) else "};")
        if len(line) + len(item) > 120:
            print(line)
            line = "   "
        line += item
    print(line + "\n")


print(f"""// Where the `tokenizers` package ({__version__}) and utf8proc (Unicode {proc.utf8proc_unicode_version().decode()}) see a code point differently: the package's
// tables come from Unicode 8 (control, mark, punctuation), 12 (normalisation) and 16 or later (letters, digits, case).
// Written by tests/goldens/write_unicode_overrides.py.
#pragma once

namespace mora::tokenizer {{

struct CodeRange {{
  char32_t first, last;
}};

// clang-format off""")
for name, reference, ours in PROPERTIES:
    array(name + "Also", reference - ours)
    array(name + "Not", ours - reference)
print("// Canonical combining class 0 there.")
array("Starters", starters)
print("// No decomposition there, compatibility ones included.")
array("Undecomposed", undecomposed)
print("struct LowercaseRange {\n  char32_t first, last, to;  // first + i becomes to + i\n};")
runs = []
for c, to in lowered:
    if runs and runs[-1][1] == c - 1 and runs[-1][2] + (c - runs[-1][0]) == to:
        runs[-1][1] = c
    else:
        runs.append([c, c, to])
print("inline constexpr LowercaseRange kLowercaseAlso[] = {\n    " + ",\n    ".join(
    ", ".join("{0x%X, 0x%X, 0x%X}" % tuple(r) for r in runs[i:i + 4]) for i in range(0, len(runs), 4)) + "};")
print("// clang-format on\n\n}  // namespace mora::tokenizer")
