"""Small tokenizers with the exact shape of well-known families.

`build(family, vocab_size)` trains a tokenizer on the corpus below and gives it the normalizer, pre-tokenizer,
post-processor, decoder and special tokens of its family, so that fixtures meet the real components without the real
vocabularies. The same arguments always give the same tokenizer.
"""

import json
from collections import Counter

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

FAMILIES = ("gpt2", "llama3", "qwen2", "bert-uncased", "bert-cased", "spm")

LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

SPECIAL = {
    "gpt2": ["<|endoftext|>"],
    "llama3": [
        "<|begin_of_text|>",
        "<|end_of_text|>",
        "<|finetune_right_pad_id|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eom_id|>",
        "<|eot_id|>",
        "<|python_tag|>",
    ],
    "qwen2": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    "bert-uncased": ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
    "bert-cased": ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
    "spm": ["<unk>", "<s>", "</s>"],
}

# Tokens that Qwen's tokenizers add without calling them special.
QWEN2_ADDED = ["<tool_call>", "</tool_call>"]

CORPUS = """\
The scheduler keeps a table of every machine in the fleet, and asks each one what it holds.
When a node is lost, its replicas are placed again on the machines that are left; nobody has to wake up.
A model that is too large for one card is cut into stages, and the stages talk to each other over the network.
Don't panic: it's only a restart. We've seen it before, they're used to it, and I'd say you'll be fine. I'm sure.
What is 12 + 34? It is 46. What is 1234 + 5678? It is 6912. Sort 9 3 7 1: 1 3 7 9.
In 2024 there were 1,048,576 tokens, 3.14159 of them irrational, and 0x7fff addresses were left over.
ERROR disk sda1 on rack-17 is 98% full; WARN fan #3 at 4200 rpm; INFO link eth0 is up (10 Gbit/s).
if (x != null) { return x->value[i] + 1; } // compare, then add
def add(a, b):
    return a + b

for i in range(10):
\tprint(i, i * i)
SELECT name, count(*) FROM nodes WHERE status = 'ready' GROUP BY name ORDER BY 2 DESC;
{"model": "calc", "messages": [{"role": "user", "content": "hello"}], "stream": true}
https://example.org/path/to/page?query=one&lang=en#top user@example.org
The quick reader walked, talked, jumped and played; the slower readers were walking, talking, jumping and playing.
Unbelievable, unhappiness, misunderstanding, reconsideration, international, organisation, characterisation.
Happy people make happy places. Low, lower, lowest; high, higher, highest; new, newer, newest; wide, wider, widest.
Le modèle est découpé en étapes, et chaque étape garde sa mémoire. Où étiez-vous hier ? À la fenêtre, déjà.
Der Rechner größer als das Gehäuse ist müßig; Straße, Übermut, schön, ärgerlich. Zwölf Boxkämpfer jagen ihn.
El niño comió piñas mañana por la mañana. ¿Dónde está la estación? ¡Qué lástima! Ningún señor llegó.
O coração não tem razão; as ações são lições. Żółw pił źródlaną wodę, gęś łaknęła świeżej trawy. Příliš žluťoučký kůň.
Türkiye'nin ılık İstanbul akşamı; ışık ve iğne. Việt Nam có nhiều thành phố đẹp, người dân rất thân thiện.
Модель разрезана на части, и каждая часть живёт на своей машине. Ещё один узел потерян, но запрос выполнен.
Η πόλη ξύπνησε νωρίς το πρωί, και ο ήλιος έλαμπε πάνω από τη θάλασσα. Ὁ ἄνθρωπος ζῷον.
השרת עונה לכל בקשה בזמן קצר. שָׁלוֹם לכולם, מה שלומך היום?
الخادم يجيب على كل طلب في وقت قصير. مَرْحَبًا بكم، كيف حالكم اليوم؟ ١٢٣٤٥
سلام، این یک آزمایش ساده است. می‌خواهم بدانم ۱۲۳۴۵ چه می‌شود.
हर मशीन अपने हिस्से का काम करती है। नमस्ते, आप कैसे हैं? क्षत्रिय ज्ञान १२३४५
প্রতিটি যন্ত্র তার নিজের কাজ করে। தமிழ் மொழி மிகவும் பழமையானது. తెలుగు భాష తీయనిది.
เครื่องทุกเครื่องทำงานของตัวเอง สวัสดีครับ วันนี้อากาศดีมาก น้ำใจ
机器把模型切成几段，每一段放在一张卡上。调度器知道哪里还有空间。今天天气很好，我们去公园吧。
機械学習のモデルは複数の段に分けられます。カタカナとひらがな、漢字が混ざっています。東京は大きい都市です。
모델은 여러 단계로 나누어지고, 각 단계는 다른 기계에서 실행됩니다. 안녕하세요, 오늘 날씨가 좋네요.
მანქანა მუშაობს. Մեքենան աշխատում է։ ማሽኑ ይሠራል። ម៉ាស៊ីន ដំណើរការ។ ເຄື່ອງຈັກ ເຮັດວຽກ။ စက်သည် အလုပ်လုပ်သည်။
Smile 😀 and wave 👋🏽; the family 👨‍👩‍👧‍👦 flies 🇫🇷 🇯🇵 🇧🇷 flags 🏳️‍🌈; rocket 🚀🚀🚀, heart ❤️, keycap 1️⃣, 💩.
½ + ¼ = ¾; x² + y² = z²; √2 ≈ 1.414; ∑ ∏ ∫ ∞ ≠ ≤ ≥; €10, £20, ¥30, ₹40; “quoted” ‘text’ — dash – range… ™ © ®
Ⅷ ⅷ ① ② ㎏ ﬁ ﬂ ＡＢＣ １２３ ｶﾞ e\u0301 a\u030a o\u0308 n\u0303 u\u0308
   three spaces,  two spaces, a tab\tand\ttabs\t\t, trailing   

    four in front
\r\nwindows line\r\n\r\nnext one\r\n
\u00a0no-break\u00a0space\u3000ideographic\u3000space\u2003em\u2003space\u200bzero\u200bwidth
"""


def corpus() -> list[str]:
    """Returns the training texts: the lines above, and generated lines that repeat words, sums and log messages."""
    texts = CORPUS.splitlines(keepends=True)
    words = sorted({w for w in CORPUS.split() if len(w) > 2})
    state = 1
    for n in range(800):
        row = []
        for _ in range(12):
            state = (state * 1103515245 + 12345) % (1 << 31)
            row.append(words[(state >> 8) % len(words)])
        a, b = state % 997, (state >> 10) % 997
        texts.append(" ".join(row) + f" {a} + {b} = {a + b}.\n")
    return texts


def _byte_level_bpe(family: str, vocab_size: int, added: int) -> models.BPE:
    """Trains a byte-level BPE of vocab_size - added entries with the family's own splitting."""
    tok = Tokenizer(models.BPE())
    tok.normalizer, tok.pre_tokenizer = _front(family)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - added,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[],
        show_progress=False,
    )
    tok.train_from_iterator(corpus(), trainer)
    return tok.model


def _front(family: str):
    """Returns the normalizer and the pre-tokenizer of a family."""
    if family == "gpt2":
        return None, pre_tokenizers.ByteLevel(add_prefix_space=False)
    if family == "llama3":
        split = pre_tokenizers.Split(Regex(LLAMA3_PATTERN), "isolated", invert=False)
        return None, pre_tokenizers.Sequence(
            [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        )
    if family == "qwen2":
        split = pre_tokenizers.Split(Regex(QWEN2_PATTERN), "isolated", invert=False)
        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
        return normalizers.NFC(), pre_tokenizers.Sequence([split, byte_level])
    if family in ("bert-uncased", "bert-cased"):
        norm = normalizers.BertNormalizer(
            clean_text=True,
            handle_chinese_chars=True,
            strip_accents=None,
            lowercase=family == "bert-uncased",
        )
        return norm, pre_tokenizers.BertPreTokenizer()
    if family == "spm":
        return normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]), None
    raise ValueError(f"unknown family {family!r}: one of {', '.join(FAMILIES)}")


def _word_pieces(family: str, vocab_size: int) -> models.WordPiece:
    """Chooses whole words, stems, endings and single characters by frequency (the library's trainer is not repeatable)."""
    norm, pre = _front(family)
    words = Counter()
    for text in corpus():
        words.update(w for w, _ in pre.pre_tokenize_str(norm.normalize_str(text)))
    characters, pieces = Counter(), Counter()
    for word, count in words.items():
        for i, c in enumerate(word):
            characters[c if i == 0 else "##" + c] += count
        for i in range(1, len(word) + 1):
            pieces[word[:i]] += count * i
            if i < len(word):
                pieces["##" + word[i:]] += count * (len(word) - i)
    vocab = list(SPECIAL[family])
    ranked = sorted(characters, key=lambda p: (-characters[p], p)) + sorted(pieces, key=lambda p: (-pieces[p], p))
    vocab += [p for p in dict.fromkeys(ranked) if p not in vocab]
    ids = {p: i for i, p in enumerate(vocab[:vocab_size])}
    return models.WordPiece(ids, unk_token="[UNK]", continuing_subword_prefix="##", max_input_chars_per_word=100)


def _spm_bpe(vocab_size: int) -> models.BPE:
    """Trains a BPE over characters with byte fallback; ids as in Llama 2: unk, bos, eos, 256 bytes, then pieces."""
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.Metaspace()
    fixed = SPECIAL["spm"] + [f"<0x{b:02X}>" for b in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, limit_alphabet=200, special_tokens=fixed, show_progress=False
    )
    tok.train_from_iterator(corpus(), trainer)
    state = json.loads(tok.to_str())["model"]
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in state["merges"]]
    return models.BPE(state["vocab"], merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)


def build(family: str, vocab_size: int) -> Tokenizer:
    """Returns a tokenizer of the family with exactly vocab_size entries, special tokens included.

    Raises ValueError where the family is unknown, or the size is out of what the corpus can fill (512 to 2500 always fits).
    """
    norm, pre = _front(family)
    special = [AddedToken(t, special=True, normalized=family == "gpt2") for t in SPECIAL[family]]
    plain = []
    if family in ("gpt2", "llama3", "qwen2"):
        if family == "qwen2":
            plain = [AddedToken(t, special=False, normalized=False) for t in QWEN2_ADDED]
        model = _byte_level_bpe(family, vocab_size, len(special) + len(plain))
        model.ignore_merges = family == "llama3"
    elif family == "spm":
        model = _spm_bpe(vocab_size)
    else:
        model = _word_pieces(family, vocab_size)

    tok = Tokenizer(model)
    if norm is not None:
        tok.normalizer = norm
    if pre is not None:
        tok.pre_tokenizer = pre
    tok.add_special_tokens(special)
    tok.add_tokens(plain)
    _back(tok, family)
    if tok.get_vocab_size() != vocab_size:
        raise ValueError(f"{family}: the corpus gives {tok.get_vocab_size()} entries, not {vocab_size}")
    return tok


def _back(tok: Tokenizer, family: str) -> None:
    """Sets the post-processor and the decoder of a family."""
    if family == "gpt2":
        tok.post_processor = processors.ByteLevel(trim_offsets=False)
        tok.decoder = decoders.ByteLevel()
    elif family == "llama3":
        bos = "<|begin_of_text|>"
        template = processors.TemplateProcessing(
            single=f"{bos} $A",
            pair=f"{bos} $A {bos}:1 $B:1",
            special_tokens=[(bos, tok.token_to_id(bos))],
        )
        tok.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
        tok.decoder = decoders.ByteLevel()
    elif family == "qwen2":
        tok.post_processor = processors.ByteLevel(trim_offsets=False)
        tok.decoder = decoders.ByteLevel()
    elif family == "spm":
        tok.post_processor = processors.TemplateProcessing(
            single="<s> $A",
            pair="<s> $A <s>:1 $B:1",
            special_tokens=[("<s>", tok.token_to_id("<s>"))],
        )
        tok.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
    else:
        tok.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[(t, tok.token_to_id(t)) for t in ("[CLS]", "[SEP]")],
        )
        tok.decoder = decoders.WordPiece(prefix="##")
