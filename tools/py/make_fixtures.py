"""Makes testdata/models: small models with random weights, and what HF transformers computes with them.

Usage, from the root of the repository:

    .venv/bin/python tools/py/make_fixtures.py                # all of them
    .venv/bin/python tools/py/make_fixtures.py llama qwen2    # only these

Each folder is a Hugging Face folder and a `reference.json`. Weights are drawn, written in the folder's own type, and
read back through transformers in fp32; every reference is computed in fp32 from what was read back, with plain ("eager")
attention, no KV cache, and one row at a time. Seeds are searched until the greedy texts are clear: see Greedy.

reference.json
==============

    name, kind ("decoder" | "encoder"), seed, made_with {torch, transformers, tokenizers}

Array: {"shape": [..], "f32": base64 of little-endian float32 in row-major order}.

kind "decoder":
    vocab, eos: [id]           ids that end a generation; no greedy text below contains a special token
    prompts: [{
        text, ids              ids as the tokenizer gives them (with its bos token where it adds one)
        greedy: {
            ids                the 64 tokens of highest logit
            text               their decoding, special tokens skipped
            min_gap            smallest difference of the two highest logits along the way, > 1e-3
            last_logits        Array [vocab]: the logits that chose the last of them
        }
        logits                 Array [12, vocab] of all positions; on prompts of exactly 12 ids
    }]
    chats: [{messages: [{role, content}], add_generation_prompt, rendered, ids}]
                               where the folder has a chat template; ids are of `rendered`, no special token added

kind "encoder":
    pooling: "mean" | "cls", normalize: bool           sentence vectors, where the folder declares them
    labels: [..], problem_type                         classification, where the folder has a classifier
    inputs: [{
        text, pair (or null), ids, type_ids
        hidden                 Array [T, hidden]: last_hidden_state
        vector                 Array [hidden]
        logits, scores         Array [labels]; scores = softmax, sigmoid or the logits, as problem_type says;
                               for token classification [T, labels]
    }]
    batch: {rows: [index into inputs], ids, type_ids, mask, vectors or logits}
                               the same inputs as one padded batch, [B, T] and [B, ...]; rows differ in length

What the folders differ in, beside the architecture
===================================================

    gpt2            fp32, names with "transformer.", weight of the head left out
    gpt2-f16        fp16, names as on the hub ("h.0...", with the causal masks h.N.attn.bias in the file), vocab.json +
                    merges.txt and no tokenizer.json
    llama           fp32, head of its own, 4 heads on 2 KV heads, configuration with rope_parameters and dtype
    llama3-rope     bf16, tied head, rope_scaling llama3, two eos ids, chat template; rope_theta, torch_dtype (older keys)
    llama-linear    fp32, tied head written into the file too, rope_scaling {"type": "linear"}, biases (attention_bias, mlp_bias)
    mistral         bf16, head_dim given and not hidden/heads, sliding window longer than the context
    qwen2           bf16, bias on q, k, v only, tied head, several shards with an index, chat template
    bert-embed      fp32, names without "bert.", with embeddings.position_ids (I64); mean pooling and Normalize
    bert-cls-embed  fp32, names with "bert.", LayerNorm.gamma/beta, a masked-LM head to ignore, vocab.txt and no
                    tokenizer.json; CLS pooling, no Normalize
    bert-classify   fp16, 3 labels, single_label_classification
    bert-multilabel fp32, 4 labels, multi_label_classification
    bert-tokens     fp32, token classification, 5 labels
"""

import argparse
import base64
import copy
import json
import math
import pathlib
import shutil

import numpy as np
import tokenizers
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import (AutoTokenizer, BertConfig, BertForPreTraining, BertForSequenceClassification,
                          BertForTokenClassification, BertModel, GPT2Config, GPT2LMHeadModel, LlamaConfig,
                          LlamaForCausalLM, MistralConfig, MistralForCausalLM, Qwen2Config,
                          Qwen2ForCausalLM)

from tokenizer_families import build

OUT = pathlib.Path(__file__).resolve().parents[2] / "testdata" / "models"
VOCAB = 512
GREEDY = 64
LOGIT_PROMPT = 12
# The promise is 1e-3; the search asks for more, so that another kernel's rounding stays far from it.
MIN_GAP = 5e-3
MIN_DISTINCT = 16
# Largest distance of fp32 from fp64 that a reference may have: most of the allowed 1e-4 is left to the other side.
ROUNDING = 2.5e-5
BERT_HIDDEN = 32

PROMPTS = [
    "The scheduler keeps a table of every machine in the fleet, and asks each one what it holds.",
    "A model that is too large for one card is cut into stages.",
    "What is 1234 + 5678? It is",
    "Don't panic: it's only a restart.\nWe've seen it before,",
    "def add(a, b):\n    return a + b\n",
    "When a node is lost, its replicas",
    "SELECT name, count(*) FROM nodes",
    "Modellen är större än kortet, så den delas upp.",
    "Модель разрезана на части,",
    "机器把模型切成几段。",
    "Smile 😀 and wave 👋🏽;",
    "Hello",
    "   three spaces,  two spaces, a tab\tand",
    "In 2024 there were 1,048,576 tokens",
    "ERROR disk sda1 on rack-17 is 98% full;",
    "Happy people make happy places. Low, lower, lowest;",
    "https://example.org/path?query=one",
    "a",
    "To be, or not to be: that is the question",
    "O coração não tem razão; as ações são lições.",
    "모델은 여러 단계로",
    "{\"model\": \"calc\", \"stream\": true}",
]

TEXTS = [
    ("The scheduler keeps a table of every machine.", None),
    ("disk", None),
    ("ERROR disk sda1 on rack-17 is 98% full; WARN fan #3 at 4200 rpm; INFO link eth0 is up (10 Gbit/s).", None),
    ("What is 12 + 34?", "It is 46, and nobody has to wake up."),
    ("Où étiez-vous hier ? À la fenêtre, déjà. 机器 Straße 😀", None),
]

CHATS = [
    [{"role": "user", "content": "What is 12 + 34?"}],
    [{"role": "system", "content": "Be short."}, {"role": "user", "content": "  Hello there \n"},
     {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "Sort 9 3 7 1"}],
]

LLAMA3_CHAT = (
    "{{- bos_token }}"
    "{%- for message in messages %}"
    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"
)
QWEN2_CHAT = (
    "{% for message in messages %}"
    "{% if loop.first and message.role != 'system' %}{{ '<|im_start|>system\\nYou answer.<|im_end|>\\n' }}{% endif %}"
    "{{ '<|im_start|>' ~ message.role ~ '\\n' ~ message.content ~ '<|im_end|>' ~ '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

# family -> what tokenizer_config.json says beside the class
TOKENIZER_CONFIG = {
    "gpt2": {"tokenizer_class": "GPT2Tokenizer", "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>",
             "unk_token": "<|endoftext|>", "add_prefix_space": False},
    "llama3": {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|begin_of_text|>",
               "eos_token": "<|eot_id|>", "pad_token": "<|finetune_right_pad_id|>"},
    "qwen2": {"tokenizer_class": "Qwen2Tokenizer", "bos_token": None, "eos_token": "<|im_end|>",
              "pad_token": "<|endoftext|>", "unk_token": None, "add_prefix_space": False},
    "bert-uncased": {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "cls_token": "[CLS]",
                     "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]",
                     "strip_accents": None, "tokenize_chinese_chars": True},
}


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def array(tensor):
    values = np.ascontiguousarray(tensor.detach().numpy(), dtype="<f4")
    return {"shape": list(values.shape), "f32": base64.b64encode(values.tobytes()).decode()}


# --- Tokenizers -----------------------------------------------------------------------------------------------------


def write_tokenizer(out, family, chat_template=None, split_files=False):
    """Writes tokenizer.json (and vocab.txt for BERT), or with split_files only the older files that it stands for."""
    tokenizer = build(family, VOCAB)
    config = dict(TOKENIZER_CONFIG[family], model_max_length=128, clean_up_tokenization_spaces=False)
    if chat_template:
        config["chat_template"] = chat_template
    write_json(out / "tokenizer_config.json", config)
    if not split_files:
        tokenizer.save(str(out / "tokenizer.json"))
    vocab = tokenizer.get_vocab()
    if family == "bert-uncased":
        words = sorted(vocab, key=vocab.get)
        (out / "vocab.txt").write_text("".join(w + "\n" for w in words))
    elif split_files:
        write_json(out / "vocab.json", dict(sorted(vocab.items(), key=lambda e: e[1])))
        merges = json.loads(tokenizer.to_str())["model"]["merges"]
        (out / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    return tokenizer


def read_tokenizer(out, built):
    """Reads the folder's tokenizer as a user would and checks that it is the one that was built."""
    tokenizer = AutoTokenizer.from_pretrained(out)
    for text in PROMPTS + [t for pair in TEXTS for t in pair if t]:
        assert tokenizer(text)["input_ids"] == built.encode(text).ids, (out.name, text)
    return tokenizer


# --- Weights --------------------------------------------------------------------------------------------------------


def fill(model, seed, embed_std, gain, head_std, focus):
    """Draws all weights: norms around 1, biases around 0 but none of them 0, matrices by their fan-in times gain.

    focus stands for gain in the queries and keys: where it is high, attention is sharp and magnifies rounding.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(p, std, mean=0.0):
        p.copy_(torch.randn(p.shape, generator=generator) * std + mean)

    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            if "norm" in name.lower() or ".ln_" in name:
                normal(p, 0.1, 1.0 if name.endswith("weight") else 0.0)
            elif name.endswith("bias"):
                normal(p, 0.2)
            elif "embed" in name or ".wte" in name:
                normal(p, embed_std)
            elif ".wpe" in name or "position" in name:
                normal(p, embed_std / 2)
            elif "lm_head" in name:
                normal(p, head_std / math.sqrt(p.shape[1]))
            else:
                fan_in = p.shape[0] if isinstance(model, GPT2LMHeadModel) else p.shape[1]
                narrow = "q_proj" in name or "k_proj" in name or ".query." in name or ".key." in name
                normal(p, (focus if narrow else gain) / math.sqrt(fan_in))
                if "c_attn" in name:
                    p[:, :2 * p.shape[0]] *= focus / gain


def edit_config(out, change):
    config = json.loads((out / "config.json").read_text())
    change(config)
    config.pop("_name_or_path", None)
    write_json(out / "config.json", config)


def rewrite_weights(out, change):
    """Replaces the tensors of model.safetensors by change(tensors)."""
    path = out / "model.safetensors"
    tensors = change(load_file(path))
    save_file({k: v.contiguous().clone() for k, v in tensors.items()}, path, metadata={"format": "pt"})


# --- Decoders -------------------------------------------------------------------------------------------------------


@torch.no_grad()
def greedy(model, ids, special):
    """Returns the continuation, its smallest gap and last logits; or None as soon as it is no use as a reference."""
    ids, gaps = list(ids), []
    for n in range(GREEDY):
        logits = model(torch.tensor([ids])).logits[0, -1]
        top = logits.topk(2)
        gaps.append((top.values[0] - top.values[1]).item())
        token = top.indices[0].item()
        if gaps[-1] < MIN_GAP or token in special:
            return None
        ids.append(token)
    if len(set(ids[-GREEDY:])) < MIN_DISTINCT:
        return None
    return ids[-GREEDY:], min(gaps), logits


def search_prompts(model, tokenizer, want):
    """Returns `want` prompts with clear greedy texts, the first of exactly 12 ids; None where there are too few."""
    special = set(tokenizer.all_special_ids) | {i for i, t in tokenizer.added_tokens_decoder.items() if t.special}
    found, exact = [], []
    for text in PROMPTS:
        if len(found) == want - 1:
            break
        ids = tokenizer(text)["input_ids"]
        got = greedy(model, ids, special) if len(ids) <= 48 else None
        if got:
            found.append((text, ids, got))
    for text in PROMPTS:
        for cut in range(len(text), 0, -1):
            ids = tokenizer(text[:cut])["input_ids"]
            if len(ids) <= LOGIT_PROMPT:
                break
        got = greedy(model, ids, special) if len(ids) == LOGIT_PROMPT else None
        if got:
            exact.append((text[:cut], ids, got))
            break
    if len(found) < want - 1 or not exact:
        return None
    return exact + [f for f in found if f[0] != exact[0][0]]


@torch.no_grad()
def decoder_reference(model, tokenizer, prompts):
    out = []
    exact = copy.deepcopy(model).double()
    for text, ids, (tokens, gap, last) in prompts:
        # Once more in one pass over everything, which must choose the same tokens.
        again = model(torch.tensor([ids + tokens])).logits[0]
        assert again[len(ids) - 1:-1].argmax(-1).tolist() == tokens
        rounding = (exact(torch.tensor([ids + tokens])).logits[0] - again).abs().max().item()
        assert rounding < ROUNDING, rounding
        entry = {"text": text, "ids": ids, "greedy": {
            "ids": tokens, "text": tokenizer.decode(tokens, skip_special_tokens=True), "min_gap": round(gap, 6),
            "last_logits": array(last)}}
        if len(ids) == LOGIT_PROMPT:
            entry["logits"] = array(again[:LOGIT_PROMPT])
        out.append(entry)
    return out


def chat_reference(tokenizer):
    chats = []
    for messages in CHATS:
        for prompt in (True, False):
            rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
            chats.append({"messages": messages, "add_generation_prompt": prompt, "rendered": rendered,
                          "ids": tokenizer(rendered, add_special_tokens=False)["input_ids"]})
    return chats


def make_decoder(name, family, make, dtype=torch.float32, finish=None, shard=None, chat=None, split_files=False,
                 eos=None, embed_std=0.3, gain=1.6, head_std=1.5, focus=0.7, want=5):
    """Writes one decoder folder; `make(vocab)` returns the model, `finish(out)` edits what was written."""
    out = OUT / name
    for seed in range(1, 200):
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        built = write_tokenizer(out, family, chat, split_files)
        model = make(built)
        fill(model, seed, embed_std, gain, head_std, focus)
        model.to(dtype)
        model.generation_config.eos_token_id = eos(built) if eos else model.config.eos_token_id
        model.generation_config.do_sample = False
        model.save_pretrained(out, max_shard_size=shard or "1GB")
        if finish:
            finish(out)
        tokenizer = read_tokenizer(out, built)
        model = read_model(type(model), out)
        prompts = search_prompts(model, tokenizer, want)
        if prompts:
            break
        print(name, "seed", seed, "gives unclear texts", flush=True)
    ends = model.generation_config.eos_token_id
    reference = header(name, "decoder", seed)
    reference |= {"vocab": model.config.vocab_size, "eos": ends if isinstance(ends, list) else [ends],
                  "prompts": decoder_reference(model, tokenizer, prompts)}
    if chat:
        reference["chats"] = chat_reference(tokenizer)
    write_json(out / "reference.json", reference)
    spread = np.mean([np.std(np.frombuffer(base64.b64decode(p["greedy"]["last_logits"]["f32"]), "<f4"))
                      for p in reference["prompts"]])
    print(f"{name}: seed {seed}, {folder_bytes(out):,} bytes, gap {min(p['greedy']['min_gap'] for p in reference['prompts']):.4f}, "
          f"logit std {spread:.2f}, distinct {[len(set(p['greedy']['ids'])) for p in reference['prompts']]}", flush=True)


def read_model(cls, out):
    """Reads the folder in fp32 and refuses any difference between its names and the model's."""
    model, report = cls.from_pretrained(out, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    missing = [k for k in report["missing_keys"] if k != "lm_head.weight" or not model.config.tie_word_embeddings]
    assert not missing and not report["mismatched_keys"], (out.name, report)
    assert all(p.dtype == torch.float32 for p in model.parameters())
    return model.eval()


def header(name, kind, seed):
    return {"name": name, "kind": kind, "seed": seed, "made_with": {
        "torch": torch.__version__.split("+")[0], "transformers": transformers.__version__,
        "tokenizers": tokenizers.__version__}}


def folder_bytes(out):
    return sum(f.stat().st_size for f in out.rglob("*") if f.is_file())


def gpt2(tokenizer, positions):
    eos = tokenizer.token_to_id("<|endoftext|>")
    return GPT2LMHeadModel(GPT2Config(
        vocab_size=VOCAB, n_positions=positions, n_embd=64, n_layer=4, n_head=4, bos_token_id=eos, eos_token_id=eos))


def make_gpt2():
    make_decoder("gpt2", "gpt2", lambda t: gpt2(t, 256), embed_std=0.5, focus=1.6)


def make_gpt2_f16():
    def hub_names(tensors):
        named = {k.removeprefix("transformer."): v for k, v in tensors.items()}
        mask = torch.tril(torch.ones(128, 128)).view(1, 1, 128, 128).half()
        return named | {f"h.{i}.attn.bias": mask for i in range(4)}

    def finish(out):
        rewrite_weights(out, hub_names)
        edit_config(out, lambda c: c.update(torch_dtype=c.pop("dtype")))

    make_decoder("gpt2-f16", "gpt2", lambda t: gpt2(t, 128), dtype=torch.float16, finish=finish, split_files=True,
                 embed_std=0.5, focus=1.6)


def llama_shape(tokenizer, **more):
    shape = dict(vocab_size=VOCAB, hidden_size=64, intermediate_size=112, num_hidden_layers=4, num_attention_heads=4,
                 num_key_value_heads=2, max_position_embeddings=256, rms_norm_eps=1e-5,
                 bos_token_id=tokenizer.token_to_id("<|begin_of_text|>"),
                 eos_token_id=tokenizer.token_to_id("<|end_of_text|>"))
    return shape | more


def make_llama():
    make_decoder("llama", "llama3", lambda t: LlamaForCausalLM(LlamaConfig(**llama_shape(
        t, tie_word_embeddings=False, rope_parameters={"rope_type": "default", "rope_theta": 10000.0}))))


def older_rope(scaling):
    """The keys of configurations written before transformers 5: rope_theta and rope_scaling beside it, torch_dtype."""
    def change(config):
        config["rope_theta"] = config.pop("rope_parameters")["rope_theta"]
        config["rope_scaling"] = scaling
        config["torch_dtype"] = config.pop("dtype")
    return change


def make_llama3_rope():
    scaling = {"factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
               "rope_type": "llama3"}
    make_decoder("llama3-rope", "llama3", lambda t: LlamaForCausalLM(LlamaConfig(**llama_shape(
        t, tie_word_embeddings=True, rope_parameters=dict(scaling, rope_theta=50000.0)))), dtype=torch.bfloat16,
        finish=lambda out: edit_config(out, older_rope(scaling)), chat=LLAMA3_CHAT,
        eos=lambda t: [t.token_to_id("<|end_of_text|>"), t.token_to_id("<|eot_id|>")])


def make_llama_linear():
    def with_head(tensors):
        return tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"]}

    def finish(out):
        rewrite_weights(out, with_head)
        edit_config(out, older_rope({"type": "linear", "factor": 2.0}))

    make_decoder("llama-linear", "llama3", lambda t: LlamaForCausalLM(LlamaConfig(**llama_shape(
        t, num_hidden_layers=3, num_key_value_heads=4, tie_word_embeddings=True, attention_bias=True, mlp_bias=True,
        rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}))), finish=finish)


def make_mistral():
    make_decoder("mistral", "llama3", lambda t: MistralForCausalLM(MistralConfig(**llama_shape(
        t, head_dim=32, sliding_window=512, tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}))), dtype=torch.bfloat16)


def make_qwen2():
    def make(t):
        return Qwen2ForCausalLM(Qwen2Config(
            vocab_size=VOCAB, hidden_size=64, intermediate_size=112, num_hidden_layers=5, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=256, rms_norm_eps=1e-6, tie_word_embeddings=True,
            use_sliding_window=False, bos_token_id=t.token_to_id("<|endoftext|>"),
            eos_token_id=t.token_to_id("<|im_end|>"),
            rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}))

    make_decoder("qwen2", "qwen2", make, dtype=torch.bfloat16, shard="150KB", chat=QWEN2_CHAT,
                 finish=lambda out: edit_config(out, older_rope(None)),
                 eos=lambda t: [t.token_to_id("<|im_end|>"), t.token_to_id("<|endoftext|>")])


# --- Encoders -------------------------------------------------------------------------------------------------------


def bert_config(**more):
    return BertConfig(**(dict(
        vocab_size=VOCAB, hidden_size=BERT_HIDDEN, num_hidden_layers=3, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=128, type_vocab_size=2, pad_token_id=0, hidden_act="gelu") | more))


def write_pooling(out, mode, normalize):
    """Declares sentence vectors in the manner of the sentence-transformers library."""
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")] + ([("2_Normalize", "Normalize")] if normalize else [])
    write_json(out / "modules.json", [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(modules)])
    (out / "1_Pooling").mkdir()
    write_json(out / "1_Pooling" / "config.json", {
        "word_embedding_dimension": BERT_HIDDEN, "pooling_mode_cls_token": mode == "cls",
        "pooling_mode_mean_tokens": mode == "mean", "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False})
    write_json(out / "sentence_bert_config.json", {"max_seq_length": 128, "do_lower_case": False})


def pool(hidden, mask, mode, normalize):
    """hidden [B, T, H], mask [B, T] -> [B, H]."""
    weights = mask.unsqueeze(-1).float()
    vectors = hidden[:, 0] if mode == "cls" else (hidden * weights).sum(1) / weights.sum(1)
    return torch.nn.functional.normalize(vectors, dim=1) if normalize else vectors


def make_encoder(name, cls, config, dtype=torch.float32, pooling=None, finish=None, split_files=False,
                 read_as=None, seed=1):
    """Writes one encoder folder. pooling = (mode, normalize) for a sentence encoder."""
    out = OUT / name
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    built = write_tokenizer(out, "bert-uncased", split_files=split_files)
    model = cls(config)
    fill(model, seed, 0.5, 1.3, 1.0, 1.3)
    model.to(dtype).save_pretrained(out)
    if pooling:
        write_pooling(out, *pooling)
    if finish:
        finish(out)
    tokenizer = read_tokenizer(out, built)
    model = read_model(read_as or cls, out)
    reference = header(name, "encoder", seed)
    if pooling:
        reference |= {"pooling": pooling[0], "normalize": pooling[1]}
    else:
        reference |= {"labels": [model.config.id2label[i] for i in range(model.config.num_labels)],
                      "problem_type": model.config.problem_type}
    reference |= encoder_reference(model, tokenizer, pooling)
    write_json(out / "reference.json", reference)
    print(f"{name}: {folder_bytes(out):,} bytes", flush=True)


@torch.no_grad()
def encoder_reference(model, tokenizer, pooling):
    def answer(batch):
        output = model(**batch, output_hidden_states=True)
        found = {"hidden": output.hidden_states[-1]}
        if pooling:
            return found | {"vector": pool(found["hidden"], batch["attention_mask"], *pooling)}
        project = {"multi_label_classification": torch.sigmoid, "regression": lambda x: x}.get(
            model.config.problem_type, lambda x: x.softmax(-1))
        return found | {"logits": output.logits, "scores": project(output.logits)}

    inputs, encoded = [], []
    for text, pair in TEXTS:
        row = tokenizer(text, pair, return_tensors="pt", return_token_type_ids=True)
        encoded.append(row)
        inputs.append({"text": text, "pair": pair, "ids": row["input_ids"][0].tolist(),
                       "type_ids": row["token_type_ids"][0].tolist()} | {k: array(v[0]) for k, v in answer(row).items()})
    rows = [2, 0, 3, 1]
    batch = tokenizer.pad({k: [encoded[i][k][0].tolist() for i in rows] for k in encoded[0]}, return_tensors="pt")
    key = "vector" if pooling else "logits"
    got = answer(batch)[key]
    for i, row in enumerate(rows):
        alone = torch.from_numpy(np.frombuffer(base64.b64decode(inputs[row][key]["f32"]), "<f4").copy())
        alone = alone.reshape(inputs[row][key]["shape"])
        padded = got[i][:alone.shape[0]] if alone.ndim == 2 else got[i]
        assert (padded - alone).abs().max() < 1e-4, "padding changed a row"
    return {"inputs": inputs, "batch": {
        "rows": rows, "ids": batch["input_ids"].tolist(), "type_ids": batch["token_type_ids"].tolist(),
        "mask": batch["attention_mask"].tolist(), ("vectors" if pooling else "logits"): array(got)}}


def make_bert_embed():
    def finish(out):
        rewrite_weights(out, lambda t: t | {"embeddings.position_ids": torch.arange(128).unsqueeze(0)})

    make_encoder("bert-embed", BertModel, bert_config(), pooling=("mean", True), finish=finish)


def make_bert_cls_embed():
    def older_names(tensors):
        return {k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): v
                for k, v in tensors.items()}

    make_encoder("bert-cls-embed", BertForPreTraining, bert_config(hidden_act="gelu_new", num_hidden_layers=2),
                 pooling=("cls", False), finish=lambda out: rewrite_weights(out, older_names), split_files=True,
                 read_as=BertModel, seed=2)


def labelled(*labels, **more):
    return bert_config(id2label=dict(enumerate(labels)), label2id={v: k for k, v in enumerate(labels)}, **more)


def make_bert_classify():
    make_encoder("bert-classify", BertForSequenceClassification,
                 labelled("bad", "fine", "good", problem_type="single_label_classification"), dtype=torch.float16, seed=3)


def make_bert_multilabel():
    make_encoder("bert-multilabel", BertForSequenceClassification,
                 labelled("disk", "network", "memory", "gpu", problem_type="multi_label_classification",
                          num_hidden_layers=2), seed=4)


def make_bert_tokens():
    make_encoder("bert-tokens", BertForTokenClassification,
                 labelled("O", "B-HOST", "I-HOST", "B-DISK", "I-DISK", num_hidden_layers=2), seed=5)


FIXTURES = {
    "gpt2": make_gpt2, "gpt2-f16": make_gpt2_f16, "llama": make_llama, "llama3-rope": make_llama3_rope,
    "llama-linear": make_llama_linear, "mistral": make_mistral, "qwen2": make_qwen2, "bert-embed": make_bert_embed,
    "bert-cls-embed": make_bert_cls_embed, "bert-classify": make_bert_classify,
    "bert-multilabel": make_bert_multilabel, "bert-tokens": make_bert_tokens,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="name", help="fixtures to make (default: all)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name in args.names or FIXTURES:
        FIXTURES[name]()


if __name__ == "__main__":
    main()
