"""Trains examples/triage: a small BERT that classifies operations messages.

Usage, from the root of the repository:

    .venv/bin/python tools/py/train_triage.py           # trains, then writes examples/triage
    .venv/bin/python tools/py/train_triage.py --dev     # holds out every fourth training form instead; writes nothing
    .venv/bin/python tools/py/train_triage.py --check   # scores the folder that is there

Messages are generated from the sentence forms in triage_forms.txt. What is held out are whole forms, not values: the
model has to know the words, and must not need the sentence.
"""

import argparse
import json
import pathlib
import random
import re
import time
from collections import Counter

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (AutoModelForSequenceClassification, AutoTokenizer, BertConfig,
                          BertForSequenceClassification, BertTokenizer)

HERE = pathlib.Path(__file__).resolve().parent
OUT = HERE.parents[1] / "examples" / "triage"
LABELS = ["disk", "network", "memory", "gpu", "auth", "deploy", "database", "ok"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SAMPLES = 6  # messages of each held-out form
CONTEXT = 128

VALUES = {
    "host": ["node-{n}", "web{n}", "rack-{n}", "srv-{n}", "host{n}", "edge-{n}", "build-{n}", "worker-{n}", "db{n}", "gw-{n}"],
    "service": ["checkout", "billing", "search", "payments", "orders", "mailer", "gateway", "catalog", "reports",
                "scheduler", "frontend", "inventory", "ingest", "ranker", "chat"],
    "path": ["/var", "/data", "/home", "/srv/files", "/var/log", "/mnt/backup", "/opt", "/tmp", "/data/{n}"],
    "dev": ["/dev/sda", "/dev/sdb", "sdc", "nvme0n1", "nvme{n}n1", "/dev/sd{c}"],
    "nic": ["eth0", "eth1", "ens{n}", "bond0", "enp{n}s0"],
    "ip": ["10.{o}.{o}.{o}", "192.168.{o}.{o}", "172.16.{o}.{o}"],
    "user": ["alice", "bob", "carol", "dave", "root", "admin", "deploy-bot", "j.smith", "guest", "operator", "erin", "mallory"],
    "table": ["customers", "orders", "events", "invoices", "sessions", "items", "audit_log", "prices"],
    "db": ["crm", "shop", "ledger", "warehouse", "metrics-db", "users-db", "stock"],
    "n": ["{n}"],
    "pct": ["{p}"],
}

# What people and programs put around a message; on training messages and held-out ones alike.
BEFORE = ["error: ", "warning: ", "[critical] ", "alert ", "info: ", "kernel: ", "ticket {n}: ", "hello, ", "hi team, ",
          "urgent: ", "fyi: ", "monitoring says: ", "<host>: ", "<service>: ", "12:{p} "]
AFTER = [" since this morning", " since {n} minutes", ", please check", ", please have a look", " again", " (job {n})",
         " in production", " in staging", " on <host>", ", thanks", ".", "!"]


def read_forms():
    """Returns {section: [line]} of triage_forms.txt."""
    sections = {}
    for line in (HERE / "triage_forms.txt").read_text().splitlines():
        if line.startswith("["):
            lines = sections.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            lines.append(line)
    return sections


class Messages:
    """Draws training messages: from the forms of a label, or from a thing of the label in a form that fits any thing."""

    def __init__(self, sections, forms, held):
        self.forms, self.held = forms, held
        self.things = {label: sections[label + " words"] for label in LABELS if label != "ok"}
        self.bad, self.good = sections["bad"], sections["good"]

    def draw(self, rng, label):
        while True:
            text = message(rng, self.form(rng, label))
            if label != "ok" and rng.random() < 0.3:
                text = thin(rng, text)
            if text not in self.held:
                return text

    def form(self, rng, label):
        if rng.random() < 0.5:
            return rng.choice(self.forms[label])
        thing, form = label, rng.choice(self.good if label == "ok" else self.bad)
        if label == "ok":
            thing = rng.choice(list(self.things))
        return re.sub("<thing>", lambda _: rng.choice(self.things[thing]), form)


def thin(rng, text):
    """Leaves out some of the words; a message that is not all well stays so."""
    words = text.split()
    return " ".join([w for w in words if rng.random() < 0.75] or words)


def fill(rng, form):
    """Chooses the alternatives of a form and puts values into it."""
    text = re.sub(r"\{([^{}]*\|[^{}]*)\}", lambda m: rng.choice(m[1].split("|")), form)
    text = re.sub(r"<(\w+)>", lambda m: rng.choice(VALUES[m[1]]), text)
    text = re.sub(r"\{n\}", lambda m: str(rng.randint(1, rng.choice([9, 99, 999]))), text)
    text = re.sub(r"\{p\}", lambda m: str(rng.randint(10, 99)), text)
    text = re.sub(r"\{o\}", lambda m: str(rng.randint(1, 254)), text)
    return re.sub(r"\{c\}", lambda m: rng.choice("defgh"), text)


def message(rng, form):
    before = rng.choice(BEFORE) if rng.random() < 0.35 else ""
    after = rng.choice(AFTER) if rng.random() < 0.35 else ""
    return fill(rng, before + form + after)


def build_vocab(messages):
    """Every word of the training messages that comes more than a few times, common endings, single characters."""
    rng, words = random.Random(2), Counter()
    for label in LABELS:
        for _ in range(4000):
            words.update(re.findall(r"[a-z]+", messages.draw(rng, label).lower()))
    characters = [chr(c) for c in range(33, 127) if not chr(c).isupper()]
    endings = ["s", "es", "ed", "d", "ing", "er", "ers", "ly", "ion", "ions", "able", "al", "ment", "ness", "ity"]
    ordered = (SPECIAL + characters + ["##" + c for c in characters] + ["##" + e for e in endings if len(e) > 1]
               + [w for w, count in sorted(words.items(), key=lambda e: (-e[1], e[0])) if count >= 3 and len(w) > 1])
    return {w: i for i, w in enumerate(dict.fromkeys(ordered))}


def build_tokenizer(vocab):
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]", continuing_subword_prefix="##",
                                           max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(t, vocab[t]) for t in ("[CLS]", "[SEP]")])
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


def pad(rows):
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    return ids, (ids != 0).long()


def blur(rng, ids, size):
    """Hides some words and swaps in some wrong ones, so that no answer hangs on a single word."""
    out = []
    for i in ids:
        chance = rng.random()
        out.append(i if i < len(SPECIAL) or chance > 0.15 else
                   SPECIAL.index("[MASK]") if chance > 0.07 else
                   SPECIAL.index("[UNK]") if chance > 0.03 else rng.randrange(len(SPECIAL), size))
    return out


@torch.no_grad()
def score(model, encode, questions):
    """Returns {label: (right, asked)} and the wrong ones."""
    model.eval()
    counts, wrong = {}, []
    for q in questions:
        ids, mask = pad([encode(q["text"])])
        found = LABELS[model(ids, attention_mask=mask).logits[0].argmax()]
        right, asked = counts.get(q["label"], (0, 0))
        counts[q["label"]] = (right + (found == q["label"]), asked + 1)
        if found != q["label"]:
            wrong.append((q["text"], q["label"], found))
    model.train()
    return counts, wrong


def write_score(counts):
    right, asked = map(sum, zip(*counts.values()))
    return f"{right}/{asked} = {100 * right / asked:.2f} %"


def train(args):
    torch.manual_seed(1)
    torch.set_num_threads(args.threads)
    sections = read_forms()
    forms = {label: sections[label] for label in LABELS}
    held = {label: sections[label + " held out"] for label in LABELS}
    if args.dev:
        held = {label: group[::4] for label, group in forms.items()}
        forms = {label: [f for f in group if f not in held[label]] for label, group in forms.items()}
    rng = random.Random(3)
    questions = [{"text": message(rng, form), "label": label}
                 for label, group in held.items() for form in group for _ in range(SAMPLES)]
    messages = Messages(sections, forms, {q["text"] for q in questions})
    vocab = build_vocab(messages)
    tokenizer = build_tokenizer(vocab)

    def encode(text):
        return tokenizer.encode(text).ids

    model = BertForSequenceClassification(BertConfig(
        vocab_size=len(vocab), hidden_size=128, num_hidden_layers=3, num_attention_heads=4, intermediate_size=256,
        max_position_embeddings=CONTEXT, hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.1,
        classifier_dropout=0.3, pad_token_id=0, id2label=dict(enumerate(LABELS)),
        label2id={l: i for i, l in enumerate(LABELS)}, problem_type="single_label_classification",
        # Plain attention: its backward pass over short rows is many times quicker on a CPU.
        attn_implementation="eager"))
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.05)
    rng, began, running = random.Random(4), time.monotonic(), 2.0
    for step in range(args.steps):
        optimizer.param_groups[0]["lr"] = args.lr * min(1.0, (step + 1) / 100, (args.steps - step) / (args.steps / 2))
        labels = [rng.choice(LABELS) for _ in range(args.batch)]
        rows = [blur(rng, encode(messages.draw(rng, label)), len(vocab)) for label in labels]
        ids, mask = pad(rows)
        logits = model(ids, attention_mask=mask).logits
        loss = torch.nn.functional.cross_entropy(
            logits, torch.tensor([LABELS.index(l) for l in labels]), label_smoothing=0.05)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        running = 0.95 * running + 0.05 * loss.item()
        if step % 100 == 99:
            print(f"{step + 1} {time.monotonic() - began:.0f} s loss {running:.4f}", flush=True)
    counts, wrong = score(model, encode, questions)
    print("held out:", write_score(counts), *wrong, sep="\n  ", flush=True)
    if not args.dev:
        write_folder(model, tokenizer, vocab, questions, forms, held, args)


def write_folder(model, tokenizer, vocab, questions, forms, held, args):
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out)
    tokenizer.save(str(out / "tokenizer.json"))
    (out / "vocab.txt").write_text("".join(w + "\n" for w in vocab))
    (out / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": CONTEXT, "pad_token": "[PAD]",
        "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}, indent=2) + "\n")
    with open(out / "heldout.jsonl", "w") as f:
        for q in questions:
            f.write(json.dumps(q) + "\n")
    counts, _ = check(out)
    rows = "\n".join(f"| {label} | {right}/{asked} |" for label, (right, asked) in counts.items())
    (out / "README.md").write_text(README.format(
        score=write_score(counts), rows=rows, words=len(vocab), steps=args.steps, batch=args.batch,
        parameters=sum(p.numel() for p in model.parameters()),
        forms=sum(map(len, forms.values())), held=sum(map(len, held.values()))))


def check(out):
    """Reloads the folder as a user would and scores it on the file of held-out messages."""
    tokenizer = AutoTokenizer.from_pretrained(out)
    model = AutoModelForSequenceClassification.from_pretrained(out)
    from_words = BertTokenizer(str(out / "vocab.txt"), do_lower_case=True)
    questions = [json.loads(line) for line in open(out / "heldout.jsonl")]
    for q in questions:
        assert tokenizer.encode(q["text"]) == from_words.encode(q["text"])
    counts, wrong = score(model, tokenizer.encode, questions)
    print("reloaded:", write_score(counts), *wrong, sep="\n  ")
    return counts, wrong


README = """\
# triage

A BERT of 3 blocks and {parameters:,} parameters (fp32) that sorts operations messages into eight labels: disk,
network, memory, gpu, auth, deploy, database, and ok for those that need nobody.

    no space left on device while writing /var/log      -> disk
    gpu 3 on node-7 has fallen off the bus              -> gpu
    deployment of checkout finished without errors      -> ok

Held-out score: {score} on {held} sentence forms that training never saw (`heldout.jsonl`).

| label | right |
| --- | --- |
{rows}

Trained from nothing by `tools/py/train_triage.py` on messages generated from {forms} sentence forms, and from
words of each label in general forms (`tools/py/triage_forms.txt`): {steps} steps of {batch} messages, with dropout
and with words hidden or replaced. It has a WordPiece vocabulary of {words} entries and has read nothing but those
words, so a message in quite other words may get a confident wrong label (`--dev`, which also takes the words of the
held-out forms away from training where no other form has them, scored 94 %).

Licence: same as the project.
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=str(OUT))
    parser.add_argument("--dev", action="store_true", help="score on a part of the training forms; write nothing")
    parser.add_argument("--check", action="store_true", help="score the folder instead of training")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    if args.check:
        check(pathlib.Path(args.out))
    else:
        train(args)


if __name__ == "__main__":
    main()
