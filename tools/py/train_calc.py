"""Trains examples/calc: a small GPT-2 that answers sums and sorts numbers.

Usage, from the root of the repository:

    .venv/bin/python tools/py/train_calc.py            # trains, then writes examples/calc
    .venv/bin/python tools/py/train_calc.py --check    # scores the folder that is there

A question is `sum A B [C] =` with numbers of up to three digits, or
`sort A B ... =` with two to six numbers below 100. The answer is a space, the
result in plain decimal, and the end-of-text token. Nothing is reversed or
padded, so a person reads it directly.

The held-out questions are drawn first, from a seed of their own. A training
question is thrown away when it has the task and the numbers, in any order, of
a held-out one.
"""

import argparse
import json
import pathlib
import random
import time

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel,
                          PreTrainedTokenizerFast)

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = ROOT / "examples" / "calc"
EOS = "<|endoftext|>"
CONTEXT = 256
HELD_OUT = {"sum": 300, "sort": 200}
# The answer ends within this many tokens: six numbers of two digits, their spaces, the end.
LONGEST_ANSWER = 20

# The last user message becomes the prompt; the closing " =" is added where it was left out.
CHAT_TEMPLATE = (
    "{%- set last = namespace(text='') -%}"
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'user' -%}{%- set last.text = message['content'] -%}{%- endif -%}"
    "{%- endfor -%}"
    "{{- last.text | trim -}}"
    "{%- if '=' not in last.text %}{{ ' =' }}{% endif -%}"
)


def build_tokenizer():
    """Byte-level BPE with the GPT-2 pattern: 256 bytes, the two task words merged, digits single."""
    vocab = {symbol: i for i, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges = [("s", "u"), ("su", "m"), ("s", "o"), ("r", "t"), ("so", "rt")]
    for left, right in merges:
        vocab[left + right] = len(vocab)
    vocab[EOS] = len(vocab)
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([EOS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=EOS, eos_token=EOS, unk_token=EOS,
        model_max_length=CONTEXT, clean_up_tokenization_spaces=False, chat_template=CHAT_TEMPLATE)


def draw_question(rng, task):
    """Draws the numbers of one question; the count of digits is drawn before the digits."""
    if task == "sum":
        count, longest = rng.choice([2, 3, 3]), 3
    else:
        count, longest = rng.choice([2, 3, 4, 5, 6, 6]), 2
    numbers = []
    for _ in range(count):
        digits = rng.randint(1, longest) if rng.random() < 0.5 else longest
        low = 0 if digits == 1 else 10 ** (digits - 1)
        numbers.append(rng.randint(low, 10 ** digits - 1))
    return task, numbers


def write_question(task, numbers):
    prompt = f"{task} {' '.join(map(str, numbers))} ="
    result = [sum(numbers)] if task == "sum" else sorted(numbers)
    return prompt, " " + " ".join(map(str, result))


def key_of(task, numbers):
    return task, tuple(sorted(numbers))


def held_out_questions():
    rng = random.Random(20260101)
    keys, questions = set(), []
    for task, count in HELD_OUT.items():
        while sum(q["task"] == task for q in questions) < count:
            drawn = draw_question(rng, task)
            if key_of(*drawn) in keys:
                continue
            keys.add(key_of(*drawn))
            prompt, answer = write_question(*drawn)
            questions.append({"task": task, "prompt": prompt, "answer": answer})
    return keys, questions


def draw_batch(rng, task, size, held_out, encode, eos):
    """Returns ids and labels [size, T]; labels are -100 on the prompt and on the padding."""
    rows = []
    while len(rows) < size:
        drawn = draw_question(rng, task)
        if key_of(*drawn) in held_out:
            continue
        prompt, answer = write_question(*drawn)
        rows.append((encode(prompt), encode(answer) + [eos]))
    width = max(len(p) + len(a) for p, a in rows)
    ids = torch.full((size, width), eos)
    labels = torch.full((size, width), -100)
    for i, (p, a) in enumerate(rows):
        ids[i, :len(p) + len(a)] = torch.tensor(p + a)
        labels[i, len(p):len(p) + len(a)] = torch.tensor(a)
    return ids, labels


@torch.no_grad()
def score(model, tokenizer, questions):
    """Greedy answers; returns {task: (right, asked)} and the wrong ones."""
    model.eval()
    by_length = {}
    for q in questions:
        by_length.setdefault((q["task"], len(tokenizer.encode(q["prompt"]))), []).append(q)
    counts, wrong = {}, []
    for (task, length), group in by_length.items():
        ids = torch.tensor([tokenizer.encode(q["prompt"]) for q in group])
        for _ in range(LONGEST_ANSWER):
            ids = torch.cat([ids, model(ids).logits[:, -1].argmax(-1, keepdim=True)], 1)
        for q, row in zip(group, ids.tolist()):
            answer = row[length:]
            ended = tokenizer.eos_token_id in answer
            text = tokenizer.decode(answer[:answer.index(tokenizer.eos_token_id)] if ended else answer)
            right, asked = counts.get(task, (0, 0))
            counts[task] = (right + (ended and text == q["answer"]), asked + 1)
            if not ended or text != q["answer"]:
                wrong.append((q["prompt"], text))
    model.train()
    return counts, wrong


def write_score(counts):
    right, asked = map(sum, zip(*counts.values()))
    parts = ", ".join(f"{task} {r}/{n}" for task, (r, n) in sorted(counts.items()))
    return f"{right}/{asked} = {100 * right / asked:.2f} % ({parts})"


def train(args):
    torch.manual_seed(1)
    torch.set_num_threads(args.threads)
    rng = random.Random(1)
    held_out, questions = held_out_questions()
    tokenizer = build_tokenizer()
    vocab = tokenizer.get_vocab()
    eos = tokenizer.eos_token_id

    def encode(text):
        # Quicker than the tokenizer and equal to it, which is checked below.
        word, mark, rest = text.partition(" ")
        head = [vocab[word]] if word in ("sum", "sort") else [vocab[c] for c in word]
        return head + [vocab["Ġ" if c == " " else c] for c in mark + rest]

    for q in questions:
        assert encode(q["prompt"]) == tokenizer.encode(q["prompt"])
        assert encode(q["answer"]) == tokenizer.encode(q["answer"])

    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=CONTEXT, n_embd=128, n_layer=args.layers, n_head=4,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=eos, eos_token_id=eos,
        # The same function as gelu_new, which is what the folder says, in one kernel; and plain
        # attention, whose backward pass over short rows is many times quicker on a CPU.
        activation_function="gelu_pytorch_tanh", attn_implementation="eager", use_cache=False)
    model = GPT2LMHeadModel(config)
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and ".h." in n]
    others = [p for n, p in model.named_parameters() if not (p.ndim == 2 and ".h." in n)]
    if args.optimizer == "muon":
        optimizers = [torch.optim.Muon(matrices, lr=args.lr, weight_decay=0.01, momentum=0.95,
                                       adjust_lr_fn="match_rms_adamw"),
                      torch.optim.AdamW(others, lr=args.lr, betas=(0.9, 0.98), weight_decay=0.0)]
    else:
        optimizers = [torch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.98), weight_decay=0.01)]
    peaks = [o.param_groups[0]["lr"] for o in optimizers]

    first, began, running = 0, time.monotonic(), {}
    if args.checkpoint and pathlib.Path(args.checkpoint).exists():
        kept = torch.load(args.checkpoint, weights_only=False)
        model.load_state_dict(kept["model"])
        for optimizer, state in zip(optimizers, kept["optimizers"]):
            optimizer.load_state_dict(state)
        rng.setstate(kept["rng"])
        first = kept["step"]
    for step in range(first, args.steps):
        # Warm up, hold, then fall to zero over the last third.
        scale = min(1.0, (step + 1) / 100, (args.steps - step) / (args.steps / 3))
        for optimizer, peak in zip(optimizers, peaks):
            optimizer.param_groups[0]["lr"] = peak * scale
        losses = {}
        for task, size in (("sum", args.sums), ("sort", args.sorts)):
            ids, labels = draw_batch(rng, task, size, held_out, encode, eos)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits = model(ids).logits[:, :-1]
            loss = torch.nn.functional.cross_entropy(
                logits.float().flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
            loss.backward()
            losses[task] = loss.item()
            running[task] = 0.95 * running.get(task, losses[task]) + 0.05 * losses[task]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        if step % 100 == 99:
            text = " ".join(f"{t} {v:.4f}" for t, v in running.items())
            print(f"{step + 1} {time.monotonic() - began:.0f} s loss {text}", flush=True)
        if step % 1000 == 999:
            print("held out:", write_score(score(model, tokenizer, questions)[0]), flush=True)
        if args.checkpoint and step % 250 == 249:
            torch.save({"model": model.state_dict(), "optimizers": [o.state_dict() for o in optimizers],
                        "rng": rng.getstate(), "step": step + 1}, args.checkpoint)
    counts, wrong = score(model, tokenizer, questions)
    print("held out:", write_score(counts), wrong, flush=True)
    write_folder(model, tokenizer, questions, args)


def write_folder(model, tokenizer, questions, args):
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    model.config.activation_function, model.config.use_cache = "gelu_new", True
    model.generation_config.max_new_tokens = 32
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    config = json.loads((out / "tokenizer_config.json").read_text())
    config["tokenizer_class"] = "GPT2Tokenizer"
    # Older readers look for the template here, not in a file of its own.
    config["chat_template"] = CHAT_TEMPLATE
    (out / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    (out / "chat_template.jinja").unlink(missing_ok=True)
    with open(out / "heldout.jsonl", "w") as f:
        for q in questions:
            f.write(json.dumps({"prompt": q["prompt"], "answer": q["answer"]}) + "\n")
    counts, _ = check(out)
    layers, parameters = model.config.n_layer, sum(p.numel() for p in model.parameters())
    (out / "README.md").write_text(README.format(
        score=write_score(counts), layers=layers, parameters=parameters, steps=args.steps,
        sums=args.sums, sorts=args.sorts))


def check(out):
    """Reloads the folder as a user would and scores it on the file of held-out questions."""
    tokenizer = AutoTokenizer.from_pretrained(out)
    model = AutoModelForCausalLM.from_pretrained(out)
    questions = [json.loads(line) for line in open(out / "heldout.jsonl")]
    for q in questions:
        q["task"] = q["prompt"].split()[0]
    counts, wrong = score(model, tokenizer, questions)
    for content in ("sum 1 2 =", " sum 1 2 "):
        rendered = tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True)
        assert rendered == "sum 1 2 =", rendered
    print("reloaded:", write_score(counts), wrong)
    return counts, wrong


README = """\
# calc

A GPT-2 of {layers} blocks and {parameters:,} parameters (fp32) that answers two kinds of question:

| prompt | continuation |
| --- | --- |
| `sum 123 45 678 =` | ` 846` |
| `sort 9 3 14 7 =` | ` 3 7 9 14` |

Sums take two or three numbers of up to three digits; sorting takes two to six numbers below 100. Other
prompts give nonsense. The answer ends with `<|endoftext|>`. The chat template makes the last user message
the prompt and adds the closing ` =` where it is missing, so any chat client can ask `sum 1 2`.

Held-out score: {score}, exact match, greedy.
The questions are in `heldout.jsonl`; training never saw their numbers in any order.

Trained from nothing by `tools/py/train_calc.py` on generated questions: {steps} steps of {sums} sums and
{sorts} sortings. Byte-level BPE with the GPT-2 pattern; every digit is one token.

Licence: same as the project.
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=str(OUT))
    parser.add_argument("--check", action="store_true", help="score the folder instead of training")
    parser.add_argument("--steps", type=int, default=5500)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--sums", type=int, default=128, help="sums a step")
    parser.add_argument("--sorts", type=int, default=24, help="sortings a step")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--optimizer", choices=["muon", "adamw"], default="muon")
    parser.add_argument("--threads", type=int, default=1,
                        help="more than one is slower on a machine that others use, too: the threads wait for each other")
    parser.add_argument("--checkpoint", help="file to keep the state in every 250 steps, and to go on from")
    args = parser.parse_args()
    if args.check:
        check(pathlib.Path(args.out))
    else:
        train(args)


if __name__ == "__main__":
    main()
