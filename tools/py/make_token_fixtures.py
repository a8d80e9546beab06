"""Writes the fixtures of the Go package token, with what the tokenizers library makes of them.

    make_token_fixtures.py [DIR]           writes DIR (token/testdata): one folder a tokenizer, and the texts
    make_token_fixtures.py --oracle FILE   answers JSON lines on stdin with the tokenizer in FILE, for the Go tests
    make_token_fixtures.py --unicode       prints, for each character class the Go code has, the code points in it
"""

import hashlib
import json
import pathlib
import struct
import sys

import tokenizer_families as families
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors

O200K_PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEKKEN_PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

FAMILY_SIZE = 1200
VARIANT_SIZE = 560

TEXTS = [
    "",
    " ",
    "  ",
    "\n",
    "\r\n\r\n",
    " \n \n  x",
    "\t\tindented\n\t\twith tabs\n",
    "a  b   c    d     e",
    "trailing   ",
    "   leading",
    "no-break\u00a0space\u00a0\u00a0x \u00a0y",
    "line\u2028separator\u2029paragraph\u0085next\x0bvt\x0cff",
    "I'm you're HE'S they'Ve we'LL i'D don'T 'tis 'S 's 'ſ x'ſ 'rE're",
    "'''quotes''' ''s '",
    "0 1 12 123 1234 12345 1234567890 3.14159 1,048,576 0x7fff 1e-9",
    "٣٤٥ १२३ 一二三 Ⅷ ½ ² ① 123½",
    "HelloWorld helloWorld HELLOworld HELLO hELLO McDonald's iPhone15Pro XMLHttpRequest ǅ ǅungla",
    "a/b//c///\n\n x//\r\ny",
    "foo_bar-baz+qux=1;{}[]()<>|\\/~`!@#$%^&*\"?.,:",
    "<|endoftext|>",
    "hello<|endoftext|>world <|im_start|>user\nhi<|im_end|>\n<tool_call>x</tool_call>",
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>",
    "<s>hello</s> <unk><s><s>  </s>",
    "[CLS] hello [SEP] world [MASK]. [PAD][UNK]",
    "< |endoftext|> <|endoftext| > <|end",
    "café cafe\u0301 naïve nai\u0308ve Ångström A\u030angstro\u0308m",
    "Tiếng Việt Tie\u0302\u0301ng Vie\u0323\u0302t ế ệ",
    "İstanbul ıssız ŞİŞLİ ß ẞ ﬁ ﬀ Σίσυφος ΣΑΣ",
    "한국어 \u1112\u1161\u11ab\u1100\u1173\u11af 각 가\u11a8",
    "中文，没有空格。日本語テスト、カタカナ。𠀀𠀁 豈更車",
    "שָׁלוֹם עֲלֵיכֶם مَرْحَبًا ﷺ لا",
    "नमस्ते क्षत्रिय தமிழ் తెలుగు ಕನ್ನಡ മലയാളം සිංහල ไทย ลาว မြန်မာ ខ្មែរ",
    "ქართული Հայերեն አማርኛ ᏣᎳᎩ ᐃᓄᒃᑎᑐᑦ ⴰⵎⴰⵣⵉⵖ ꦗꦮ བོད་སྐད་ ᠮᠣᠩᠭᠣᠯ",
    "𐍈 𝕳𝖊𝖑𝖑𝖔 𝟙𝟚𝟛 🄰 𓀀 𐎀 𞤀𞤤",
    "😀😃😄 👋🏽 👨‍👩‍👧‍👦 🏳️‍🌈 🇫🇷🇯🇵🇧🇷🇩 1️⃣ ❤️‍🔥 ☕︎ ☕️",
    "zero\u200bwidth\u200cjoin\u200der\ufeffbom\u2060word\u00adsoft",
    "ctrl\x00nul\x01\x02\x1besc\x7fdel\x80c1\x9f end",
    "\ufffd replacement \ufffe \uffff \U0010ffff private \ue000\uf8ff",
    "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘!͖̬̰̙̗̿̋ͥͥ̂ͣ̐́́͜͞",
    "a" + "\u0301" * 40 + "\u0323" * 3 + "b",
    "\u0301start with a mark \u0e31",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "the the the The THE tHe schedulerscheduler unbelievable",
    "0" * 70,
    "=" * 80 + "\n" + "-" * 80 + "\r\n\r\n",
    " " * 70 + "x" + "\t" * 9 + "\n" * 9,
    "▁meta ▁▁ space▁",
    "ĠBPE Ċ characters ÃÂ written out",
    "<0x0A> <0x41><0xFF>",
    "x\u3000y\u2003z\u1680w\u202fv\u205fu",
    "¿Qué? ¡Sí! «guillemets» „Gänsefüßchen“ ‘single’ “double” … — – ‑",
    "MASK<mask>me  <mask> x<mask>",
    "NAME NAMES xNAME NAME. (NAME) name Name  [TAIL]   more [TAIL]\n\n[HEAD] x [HEAD]",
    "a.b,c!d?e:f;g'h\"i",
    "do not doesn 't I 'm we 've you 're it 's . , ! ?",
    "Ω Ω K Å ﬃ ｶﾞ ㎏ ℌ ℡",
    "ϓ ϔ \u0958 \u2adc ΐ \u1fee \u0344 \u0f73",
    "".join(f"a\u0301{m}\u0323 " for m in "\u07fd\u08d3\u0c3c\u0eba\u1715\u1abf\u1df6\ua82c\U00010f46\U0001e2ae"),
    "x\U00011935\U00011930y \U00011938z \u08e1 \u0890",
    "ꙮ ƛ\u0338 \ua7ce\ua7d2\ua7d4 \u1c89\u1c8a",
]

TEMPLATE_PAIRS = [("how are you", "I am fine"), ("", "x"), ("[CLS]", "<s>"), ("中文", "café 123")]

SPACES = [" ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "   \n"]
LONG = [
    {"name": "prose", "seed": 1, "bytes": 100_000, "pieces": "words"},
    {"name": "mixed", "seed": 2, "bytes": 100_000, "pieces": "all"},
    {"name": "glued", "seed": 3, "bytes": 100_000, "pieces": "glued"},
    {"name": "letters", "seed": 4, "bytes": 100_000, "pieces": ["a", "b", "e", "th", "ing", "é", "ж", "中"]},
    {"name": "spaces", "seed": 5, "bytes": 100_000, "pieces": SPACES + [" "] * 20},
    {"name": "marks", "seed": 6, "bytes": 100_000, "pieces": ["\u0301", "\u0323", "\u0302", "\u0345", "\u05b0", "a"]},
    {"name": "one", "seed": 7, "bytes": 100_000, "pieces": ["a"]},
]


def long_pieces(which):
    """Returns the pieces a long line is put together from."""
    if not isinstance(which, str):
        return which
    words = sorted({w for w in families.CORPUS.split()} | {w for t in TEXTS for w in t.split()})
    if which == "words":
        return [w + " " for w in sorted({w for w in families.CORPUS.split() if w.isascii()})]
    return words if which == "glued" else words + SPACES * 30


def long_line(seed: int, size: int, pieces: list[str]) -> str:
    """Joins pieces chosen by a 64-bit linear congruential generator until the text has size bytes or more."""
    state, out, n = seed, [], 0
    while n < size:
        state = (state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        piece = pieces[(state >> 33) % len(pieces)]
        out.append(piece)
        n += len(piece.encode())
    return "".join(out)


def variants() -> dict[str, Tokenizer]:
    """Returns tokenizers that have the components the families do not."""
    out = {}
    for name, pattern in (("o200k", O200K_PATTERN), ("tekken", TEKKEN_PATTERN)):
        tok = families.build("llama3", VARIANT_SIZE)
        tok.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(pattern), "isolated", invert=False),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        out[name] = tok

    tok = families.build("gpt2", VARIANT_SIZE)
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tok.add_special_tokens(["<s>", "</s>", AddedToken("<mask>", lstrip=True), AddedToken("[TAIL]", rstrip=True)])
    ends = [(t, tok.token_to_id(t)) for t in ("</s>", "<s>")]
    tok.post_processor = processors.RobertaProcessing(*ends, trim_offsets=True, add_prefix_space=True)
    out["roberta"] = tok

    tok = families.build("gpt2", VARIANT_SIZE)
    tok.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tok.normalizer = normalizers.NFD()
    out["digits"] = tok

    for name, split in (("metaspace", True), ("mistral", False)):
        tok = families.build("spm", VARIANT_SIZE)
        tok.normalizer = None
        if split:
            tok.model.byte_fallback = tok.model.fuse_unk = False
        scheme = "always" if split else "first"
        tok.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=split)
        if split:
            tok.decoder = decoders.Metaspace(prepend_scheme=scheme, split=split)
        out[name] = tok

    tok = families.build("spm", VARIANT_SIZE)
    tok.normalizer = normalizers.Sequence([normalizers.Strip(), normalizers.Replace(" ", "▁")])
    tok.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_previous")
    tok.model.byte_fallback = False
    tok.post_processor = processors.BertProcessing(("</s>", 2), ("<s>", 1))
    out["gemma"] = tok

    tok = families.build("bert-uncased", VARIANT_SIZE)
    tok.add_tokens(
        [
            AddedToken("NAME", single_word=True, normalized=True),
            AddedToken("[TAIL]", rstrip=True, normalized=False),
            AddedToken("[HEAD]", lstrip=True, rstrip=True, normalized=True),
            AddedToken("the the", normalized=True),
        ]
    )
    out["added"] = tok

    tok = families.build("bert-cased", VARIANT_SIZE)
    tok.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.NFC()])
    tok.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("merged_with_next"), pre_tokenizers.Digits()]
    )
    tok.post_processor = None
    out["splits"] = tok
    return out


def byte_offsets(text: str, offsets) -> list[int]:
    """Turns pairs of character offsets into one flat list of byte offsets."""
    at = [0]
    for c in text:
        at.append(at[-1] + len(c.encode()))
    return [at[o] for pair in offsets for o in pair]


def words(tok: Tokenizer, normalized: str) -> list[int]:
    """Returns the byte offsets of the words that a normalized text is split into."""
    if tok.pre_tokenizer is None or not normalized:
        return [0, len(normalized.encode())] if normalized else []
    return byte_offsets(normalized, [at for _, at in tok.pre_tokenizer.pre_tokenize_str(normalized)])


def answer(tok: Tokenizer, text: str) -> dict:
    """Returns everything that is compared for one text."""
    normalized = tok.normalizer.normalize_str(text) if tok.normalizer else text
    tok.encode_special_tokens = False
    plain = tok.encode(text, add_special_tokens=False)
    full = tok.encode(text, add_special_tokens=True)
    tok.encode_special_tokens = True
    literal = tok.encode(text, add_special_tokens=False)
    tok.encode_special_tokens = False
    return {
        "normalized": normalized,
        "words": words(tok, normalized),
        "ids": plain.ids,
        "offsets": byte_offsets(text, plain.offsets),
        "special": full.ids,
        "literal": literal.ids,
        "decoded": tok.decode(full.ids, skip_special_tokens=False),
        "skipped": tok.decode(full.ids, skip_special_tokens=True),
    }


def digest(ids: list[int]) -> str:
    """Returns the SHA-256 of ids as 32-bit little-endian numbers."""
    return hashlib.sha256(struct.pack(f"<{len(ids)}i", *ids)).hexdigest()


def dump(path: pathlib.Path, value) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")


def compact(name: str, tok: Tokenizer) -> dict:
    """Returns tokenizer.json; some with merges as "a b", and one with words that no merges lead to."""
    state = json.loads(tok.to_str())
    if name in ("gpt2", "digits"):
        state["model"]["merges"] = [" ".join(m) for m in state["model"]["merges"]]
    if name == "o200k":
        del state["model"]["merges"][3::5]
    return state


def write(root: pathlib.Path) -> None:
    long = [dict(rule, pieces=long_pieces(rule["pieces"])) for rule in LONG]
    pairs = [list(p) for p in TEMPLATE_PAIRS]
    dump(root / "texts.json", {"texts": TEXTS, "pairs": pairs, "long": long})
    named = {f: families.build(f, FAMILY_SIZE) for f in families.FAMILIES} | variants()
    for name, tok in named.items():
        dump(root / name / "tokenizer.json", compact(name, tok))
        tok = Tokenizer.from_file(str(root / name / "tokenizer.json"))
        cases = [answer(tok, t) for t in TEXTS]
        lines = []
        for rule in long:
            enc = tok.encode(long_line(rule["seed"], rule["bytes"], rule["pieces"]), add_special_tokens=False)
            lines.append({"count": len(enc.ids), "sha256": digest(enc.ids)})
        joined = [tok.encode(a, b) for a, b in TEMPLATE_PAIRS]
        dump(
            root / name / "expected.json",
            {"texts": cases, "long": lines, "pairs": [{"ids": e.ids, "types": e.type_ids} for e in joined]},
        )


def oracle(path: str) -> None:
    tok = Tokenizer.from_file(path)
    for line in sys.stdin:
        print(json.dumps(answer(tok, json.loads(line))), flush=True)


def unicode_classes() -> None:
    code_points = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]

    def split_class(pre):
        left = set()
        for i in range(0, len(code_points), 4096):
            text = "".join(map(chr, code_points[i : i + 4096]))
            left.update(ord(c) for piece, _ in pre.pre_tokenize_str(text) for c in piece)
        return [c for c in code_points if c not in left]

    def removed(norm):
        return [c for c in code_points if norm.normalize_str(f"a{chr(c)}b") == "ab"]

    def bert(**on):
        off = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
        return normalizers.BertNormalizer(**(off | on))

    classes = {
        n: split_class(pre_tokenizers.Split(Regex(p), "removed"))
        for n, p in {
            "letter": r"\p{L}",
            "number": r"\p{N}",
            "space": r"\s",
            "head": r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]",
            "tail": r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]",
        }.items()
    }
    classes["bertPunctuation"] = split_class(pre_tokenizers.Punctuation("removed"))
    classes["bertControl"] = removed(bert(clean_text=True))
    classes["bertMark"] = removed(bert(strip_accents=True))
    ideographs = bert(handle_chinese_chars=True)
    classes["ideograph"] = [c for c in code_points if ideographs.normalize_str(chr(c)) == f" {chr(c)} "]
    named = families.build("bert-cased", VARIANT_SIZE)
    named.add_tokens([AddedToken("NAME", single_word=True, normalized=False)])
    name = named.token_to_id("NAME")
    classes["word"] = [c for c in code_points if name not in named.encode(f"NAME{chr(c)}").ids]
    low = normalizers.Lowercase()
    lowered = {c: low.normalize_str(chr(c)) for c in code_points}
    print(json.dumps({"classes": classes, "lower": {c: s for c, s in lowered.items() if s != chr(c)}}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--oracle"]:
        oracle(sys.argv[2])
    elif sys.argv[1:2] == ["--unicode"]:
        unicode_classes()
    else:
        default = pathlib.Path(__file__).resolve().parents[2] / "token" / "testdata"
        write(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default)
