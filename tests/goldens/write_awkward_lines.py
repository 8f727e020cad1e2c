#!/usr/bin/env python3
"""Writes awkward_lines.txt: lines, as bytes, that tokenizers are apt to get wrong. A line ends at \\n and nowhere else.

Usage: write_awkward_lines.py > awkward_lines.txt
"""
import sys

lines = []


def add(*texts):
    for text in texts:
        lines.append(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))


# Plain text, spacing.
add("", " ", "  ", "\t", "\r", " \t ", "a", " a", "a ", "  a  b  ", "Hello, world!", "Hello,world!It's 5 o'clock.", "tab\tseparated\tvalues",
    "carriage\rreturn in mid line", "ends in carriage return\r", "\r\r", "a\r b", "form\x0cfeed", "vertical\x0btab", "a" + " " * 40 + "b", " " * 100,
    "\t" * 17, " \t \t x", "x   ", "x\t\t", "\u00a0no-break\u00a0space\u00a0", "\u3000ideographic\u3000space", "\u1680ogham\u2003em\u2009thin\u202fnarrow\u205fmath",
    "line\u2028separator\u2029paragraph", "next\u0085line", "zero\u200bwidth\u200cnon\u200djoiner\u2060word\ufeffbom", "\ufeffBOM at the start", "soft\u00adhyphen")
# Contractions, quotes, punctuation.
add("I'm you're he's we've they'll I'd don't can't", "I'M YOU'RE HE'S WE'VE THEY'LL I'D DON'T", "'s't're've'm'll'd", "'S'T'RE'VE'M'LL'D", "' s ' t", "''s", "'''",
    "x'\u017f y'\u017f", "it\u2019s \u2018quoted\u2019 \u201cdouble\u201d", "rock'n'roll o'clock 'tis", "'Tis 'twas", "a'b'c'd'e", "'re-'ve", "'LLama 'Dog",
    "...", "....", "?!?!", "!!!wow!!!", "--- *** ___ ===", "(a)[b]{c}<d>", "a-b_c.d,e;f:g/h\\i|j", "#hashtag @user $5.00 100% a&b a^b a~b `code`", "a+b=c", "<html><body>x</body></html>",
    "\u00bfQu\u00e9? \u00a1S\u00ed!", "\u2014dash\u2013en\u2010hyphen\u2011", "\u2026ellipsis\u2026", "\u3001\u3002\u300c\u300d\uff01\uff1f", "\u0964\u0965", "\u060c\u061b\u061f", "\u2e43 \u2e52 new punctuation", "\u166d \U000111c9")
# URLs, code, numbers.
add("https://example.com/a/b?c=d&e=f#g", "http://user:pass@host.example:8080/~x/%20y", "mail me@example.org now", "C:\\Windows\\System32", "/usr/local/bin:$PATH", "foo.bar(baz[0], *args, **kw)",
    "for (int i = 0; i < n; ++i) { a[i] += b[i]; }", "    indented code", "\tif x:", "def f(x):\treturn x  # y", "SELECT * FROM t WHERE a='b';", "a\\nb\\tc", "1234567890", "1 22 333 4444 55555", "3.14159 -2e10 +7", "1,234,567.89",
    "2024-01-31T23:59:59Z", "192.168.0.1", "0xDEADBEEF 0b1010 0o17", "12ab34cd", "v1.2.3-rc4", "\u00bd \u00bc \u00b2 \u00b3 \u00b9 x\u00b2", "\u2460\u2461\u2462 \u2160\u2161\u2162 \u2170", "\u0661\u0662\u0663 \u06f1\u06f2\u06f3",
    "\u0967\u0968\u0969 \u09e7\u09e8\u09e9", "\u0e51\u0e52\u0e53 \u1041\u1042", "\uff11\uff12\uff13\uff14", "\U0001d7d8\U0001d7d9\U0001d7da\U0001d7e2", "\U00010d40\U00010d41", "\u4e00\u4e8c\u4e09\u5341\u767e", "\U0001f101\U0001f102", "1\u0301 2\u0302", "9" * 30)
# Accents: composed, decomposed, stacked, out of order.
for word in ["caf\u00e9", "na\u00efve", "\u00c5ngstr\u00f6m", "S\u00e3o Paulo", "Dvo\u0159\u00e1k", "\u0141\u00f3d\u017a", "\u1ed0ng Vi\u1ec7t Nam", "\u0150z\u0171", "\u00fc\u00dc\u00f6\u00d6\u00e4\u00c4\u00df", "\u1e9e STRASSE stra\u00dfe", "\ufb01nance \ufb03 \ufb06", "\u01c4\u01c5\u01c6 \u01f1", "\u0130stanbul \u0131\u011fd\u0131r I\u0307", "D\u0130YARBAKIR", "\u039f\u0394\u03a5\u03a3\u03a3\u0395\u03a5\u03a3 \u03c3\u03c2", "\u0386\u03ad\u03ae\u03af \u1fb3\u1fc3\u1ff3 \u1f80", "\u0401\u043b\u043a\u0430 \u0451\u0436 \u0419\u0438\u0439", "\u212bngstrom \u2126hm \u212aelvin", "\u0344\u0958\u09dc\u0fb7", "\u2adc \ufb4f \ufb2a"]:
    add(word, word.upper(), word.lower())
import unicodedata
for word in ["caf\u00e9 na\u00efve", "\u1ed0ng \u1ec7", "\u0150z\u0171", "\u0439\u0451", "\u03ac\u03ad", "\u304c\u3071", "\ud55c\uae00", "\u0931\u0935", "\u212b\u2126", "\u00c7\u0327"]:
    add(unicodedata.normalize("NFD", word), unicodedata.normalize("NFC", word), unicodedata.normalize("NFKD", word), " " + unicodedata.normalize("NFD", word) + "!")
add("a\u0301\u0323b", "a\u0323\u0301b", "a\u0301\u0302\u0303\u0304\u0305c", "\u0301start", " \u0301", "Z\u0351\u036b\u0343a\u0323\u0363l\u0321\u0351g\u0300o\u0301", "e" + "\u0301" * 30, "e" + "\u0301\u0323" * 20, "q\u0307\u0323", "\u1e0b\u0323", "\u0f71\u0f72\u0f74", "\u05d0\u05bc\u05b8\u05d1\u05b7", "\u0628\u0651\u064e", "\u20dd\u20de a\u20dd", "\u093c\u094d", "\u1b05\u1b35 \u0bc6\u0bbe", "\U00011131\U00011127", "\u3099\u309a \u304b\u3099", "\U0001d15e\U0001d165", "\u302e\u302f\u302a")
# CJK with its extensions and compatibility forms, kana, Hangul.
add("\u4e2d\u6587", "\u4e2d\u6587 mixed with English", "\u6211\u7231\u5317\u4eac\u5929\u5b89\u95e8", "\u6771\u4eac\u90fd\u306b\u884c\u304d\u307e\u3057\u305f\u3002", "\u30ab\u30bf\u30ab\u30ca \uff76\uff80\uff76\uff85 \uff76\uff9e", "\u3072\u3089\u304c\u306a", "\uc548\ub155\ud558\uc138\uc694 \uc138\uacc4", "\u1112\u1161\u11ab\u1100\u1173\u11af", "\u1100\u1161 \uac00\u11a8", "\u1100\u1100\u1161\u1161\u11a8\u11a8",
    "\u3400\u4dbf\u4dc0\u9fff\ua000", "\U00020000\U0002a6df\U0002a6e0", "\U0002a700\U0002b73f\U0002b740\U0002b81f", "\U0002b820\U0002b91f\U0002b920\U0002ceaf", "\U0002ceb0\U0002ebe0\U00030000\U000323af", "\U0002ebf0\U0002ee5d", "\uf900\ufaff\U0002f800\U0002fa1f", "\u2e80\u2f00\u3105\u31a0", "\u3231\u3300\u33ff\u32ff", "\uff21\uff22\uff23\uff41\uff42\uff43", "\u4e2d\u0301\u6587", "\u4e00\u9fa5" * 30, "\u8fd9\u662f\u4e00\u4e2a\u6d4b\u8bd5" * 12, "\u534e\u4e3aMate60\u624b\u673a2023\u5e74")
# Right to left, Indic, Thai and others.
add("\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd", "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645", "\u200fRTL\u200e mark \u202aembed\u202c \u2066isolate\u2069", "abc \u05d0\u05d1\u05d2 123 \u0627\u0628\u062a", "\u0644\u0627 \ufefb \ufdfa", "\u0640\u0640\u0640", "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e", "\u0995\u09cd\u09b7 \u09a1\u09bc", "\u0ba4\u0bae\u0bbf\u0bb4\u0bcd", "\u0c24\u0c46\u0c32\u0c41\u0c17\u0c41", "\u0d2e\u0d32\u0d2f\u0d3e\u0d33\u0d02", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01", "\u0ea5\u0eb2\u0ea7", "\u1780\u17d2\u1798\u17c2\u179a", "\u1019\u103c\u1014\u103a\u1019\u102c", "\u10e5\u10d0\u10e0\u10d7\u10e3\u10da\u10d8 \u1c90\u1c91", "\u0540\u0561\u0575\u0565\u0580\u0565\u0576 \u0587", "\u1275\u130d\u122d\u129b", "\u13e3\u13b3\u13a9 \uab70", "\u1820\u180b\u1821\u180e", "\ua9b1\ua9bf", "\u0f56\u0f7c\u0f51\u0f0b", "\U00010330\U00010331", "\U00010400\U00010428", "\U00012000\U00013000", "\U0001e900\U0001e922", "\u16a0\u16b1 \u2c00\u2c30", "\ua722\ua723 \ua7cb \ua7dc", "\U00010d50\U00010d70", "\U00011bc0\U00016d40", "\u0897\U000105c0", "\u1c89\u1c8a")
# Emoji: joiners, skin tones, flags, keycaps, variation selectors, tags.
add("\U0001f600", "\U0001f600\U0001f601\U0001f602", "I \u2764\ufe0f you \u2764", "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466", "\U0001f44d\U0001f3fb\U0001f44d\U0001f3ff", "\U0001f469\U0001f3fd\u200d\U0001f680", "\U0001f3f3\ufe0f\u200d\U0001f308", "\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7", "1\ufe0f\u20e3 #\ufe0f\u20e3", "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "\u263a\u263a\ufe0e\u263a\ufe0f", "wow\U0001f525\U0001f525", "\U0001f525wow", "\U0001fae8\U0001fae9", "\u00a9\u00ae\u2122", "\u2190\u2191\u2192 \u221e \u2211 \u222b", "\u20ac\u00a3\u00a5\u20bf \u20c0", "\U0001d400\U0001d51e\U0001d7ce", "\u24b6\u24d0 \U0001f130\U0001f150\U0001f170", "\u2581\u2581", "\u2581a \u2581", "a\u2581b")
# Controls, noncharacters, private use.
for code in list(range(0x01, 0x0a)) + list(range(0x0b, 0x20)) + list(range(0x7f, 0xa0, 3)):
    add("a" + chr(code) + "b " + chr(code))
add("\x00", "a\x00b", "\ue000\uf8ff", "\U000f0000\U0010fffd", "\ufdd0\ufffe\uffff\U0001ffff\U0010ffff", "\ufffd", "a\ufffdb \ufffd\ufffd", "\u0378\u0380 unassigned \U000e0fff", "\u061c\u070f\u06dd\u08e2\u0890", "\U000110bd\U000110cd\U00013430", "\ufff9\ufffa\ufffb")
# Long words.
add("a" * 99, "a" * 100, "a" * 101, "a" * 700, "ab" * 250, "supercalifragilisticexpialidocious" * 4, "\u00e9" * 100, "\u00e9" * 101, "\u4e2d" * 101, "x" * 50 + "\u0301" * 51, "." * 300, "-" * 150 + "a", "0" * 250, "\U0001f600" * 60, "Donaudampfschifffahrtsgesellschaftskapit\u00e4n", "pneumonoultramicroscopicsilicovolcanoconiosis", "aB" * 60, "=" * 80, "the" * 70, "_" * 64 + "init" + "_" * 64)
# What looks like special tokens.
for token in ["[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]", "<s>", "</s>", "<unk>", "<pad>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<0x0A>", "<0xE2>", "##ing"]:
    add(token, f"a {token} b", f"a{token}b", f"{token}{token} {token}")
add("[cls] [Mask] [ UNK ]", "<|im_start|>user\rHi<|im_end|>", "< | im_end | >", "<|im_end|", "|im_end|>", "<<s>>", "</s", "[CLS", "CLS]", "<|endoftext|><|endoftext|>", "<s> </s> <s>x</s>", "<extra> wide", " <extra> ", "a <word> b", "a<word>b", "<word>", "(<word>)", "<Norm> <norm> <NORM>", "x<norm>y", "<left> a", "a   <left>b", "a<right>   b", "<right> <left> <right>", " <s>", "<s> ")
# Invalid UTF-8 of every kind.
for bad in [b"\x80", b"\xbf", b"\xc0\x80", b"\xc1\xbf", b"\xc2", b"\xc3(", b"\xe0\x80\x80", b"\xe0\x9f\xbf", b"\xe2\x82", b"\xe2(\xa1", b"\xe2\x28\xa1", b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xed\xa0\xbd\xed\xb8\x80", b"\xf0\x80\x80\x80", b"\xf0\x8f\xbf\xbf", b"\xf0\x9f\x98", b"\xf0\x9f", b"\xf0", b"\xf0(\x8c\xbc", b"\xf0\x90(\xbc", b"\xf0\x9f\x98A", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80", b"\xfe", b"\xff", b"\xff\xfe\xff\xfe", b"\x80\x80\x80", b"\xe2\x82\xe2\x82\xac", b"\xc3\xa9\xc3", b"\xf0\x9f\x98\x80\xf0\x9f\x98"]:
    add(bad, b"a" + bad + b"b", b" " + bad + b" x")
add("latin1 caf\u00e9".encode("latin-1"), "\u201csmart\u201d".encode("cp1252"), "\u65e5\u672c".encode("shift_jis"), "\u4e2d\u6587".encode("gbk"), "hi".encode("utf-16-le"), bytes(range(0x80, 0x100)), bytes(b for b in range(1, 0x80) if b != 10))
# Sentences.
add("The quick brown fox jumps over the lazy dog.", "It was the best of times, it was the worst of times;", "Mr. Smith's  e-mail (smith@x.org) isn't working -- 50% of the time!", "unaffable unbelievable antidisestablishmentarianism", "MiXeD CaSe WoRdS and ALLCAPS", "don't stop 'til you get enough", "a b c d e f g", "  leading and trailing  ", "no-space,after,commas", "end with space ", "e.g. i.e. etc.", "He said: \"Hi!\" (quietly).", "do not 's 've 're n't 'm", "x . y ? z ! a , b ' c n't", "Ceci n'est pas une pipe; \u00e7a va?", "Der Flu\u00df flie\u00dft gem\u00e4chlich.", "El ni\u00f1o comi\u00f3 pi\u00f1a.", "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440!", "\u0393\u03b5\u03b9\u03ac \u03c3\u03bf\u03c5 \u039a\u03cc\u03c3\u03bc\u03b5", "Xin ch\u00e0o th\u1ebf gi\u1edbi", "\u010cesk\u00fd jazyk je t\u011b\u017ek\u00fd", "T\u00fcrk\u00e7e \u0130\u0131\u011e\u011f\u015e\u015f")
# Every property once more: one character of each block of 0x80, in a word, alone and behind a space.
for base in list(range(0x80, 0x3100, 0x80)) + list(range(0xa480, 0xac00, 0x80)) + list(range(0xfb00, 0xffff, 0x80)) + list(range(0x10000, 0x12000, 0x100)) + list(range(0x1d000, 0x1fb00, 0x100)):
    a, b = base + 0x05, base + 0x41
    add("".join(chr(c) for c in (a, b)) + " x" + chr(a) + " " + chr(b))

body = b"".join(line + b"\n" for line in lines)
assert all(b"\n" not in line for line in lines) and len(lines) >= 500, len(lines)
sys.stdout.buffer.write(body)
