"""Makes the fixtures of testdata/models for tasks that make_fixtures.py leaves out, and tasks.json beside it.

Usage, from the root of the repository:

    .venv/bin/python tools/py/make_task_fixtures.py                 # all of them
    .venv/bin/python tools/py/make_task_fixtures.py bert-fill gpt2  # only these

A new folder has reference.json as make_fixtures.py describes it, of kind "encoder" or, where the model fills masks, with
"masks": [places] and "logits" [masks, vocab] instead of scores; where it answers questions, logits are [T, 2] and there
are no scores. Folders that are there already (bert-tokens, gpt2, …) get a tasks.json only.

tasks.json (offsets are in characters, what the library calls them):

    made_with
    vectors: [{text, ids, hidden [T, H], mean, cls, last}]            hidden states behind the last norm; none is normalised
    labels: [{text, words, none, simple, first, average, max}]        TokenClassificationPipeline; words = word_ids without the
                                                                      template's, the others lists of {start, end, label, score}
    windows: [{text, stride, simple, first, average, max}]            of bert-spans: the same of a text that is longer than the context
                                                                      of 128 tokens, by the pipeline with a stride
    masks: [{text, top: [[{id, text, score, sequence}]]}]             FillMaskPipeline, top_k 7
    rankings: [{query, documents, scores}]                            sigmoid of the one logit
    pairs: [{text, pair, scores}]                                     TextClassificationPipeline, top_k None, by label

What the new folders differ in: bert-spans (labels with and without marks, that differ much from token to token), bert-fill (tied head written too, both names of its bias), bert-answer, bert-rank (one label,
declared as sentence-transformers does), distilbert-fill, distilbert-classify, roberta-fill, roberta-classify,
roberta-answer (byte-level BPE, one segment), electra-classify.
"""

import argparse
import json
import shutil

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (AutoModelForCausalLM, AutoModelForTokenClassification, AutoTokenizer, BertForMaskedLM,
                          BertForQuestionAnswering, BertForSequenceClassification, BertForTokenClassification, DistilBertConfig, DistilBertForMaskedLM,
                          DistilBertForSequenceClassification, ElectraConfig, ElectraForSequenceClassification, RobertaConfig,
                          RobertaForMaskedLM, RobertaForQuestionAnswering, RobertaForSequenceClassification, pipeline)

from make_fixtures import (OUT, TEXTS, VOCAB, array, bert_config, edit_config, fill, folder_bytes, header, read_model,
                           rewrite_weights, write_json, write_tokenizer)
from tokenizer_families import build

LONG = ("The scheduler keeps a table of every machine in the fleet, and asks each one what it holds. When a node is lost, its "
        "replicas are placed again on the machines that are left; nobody has to wake up. A model that is too large for one card "
        "is cut into stages 😀, and the stages talk to each other over the network.")
LABELLED = [
    "ERROR disk sda1 on rack-17 is 98% full",
    "The scheduler 😀 keeps a table of every machine, Où étiez-vous hier?",
    "机器把模型切成几段 on rack-17",
    LONG.split(".")[0],
    "disk",
]
STRIDE = 63  # half of what a context of 128 holds beside the template
LONGER = " ".join([LABELLED[2], LONG, LABELLED[1], LABELLED[0]])
VECTORS = [t for pair in TEXTS for t in pair if t] + [LONG]
MASKED = [
    "The scheduler keeps a {} of every machine.",
    "When a {} is lost, its {} are placed again 😀.",
    "{}",
]
DOCUMENTS = ["The fleet has spare cards.", "A model that is too large for one card is cut into stages.", "Où étiez-vous hier? 😀",
             "disk", "the network talks to each other"]


# --- Folders --------------------------------------------------------------------------------------------------------


def roberta_tokenizer(out):
    """Byte-level BPE with the special tokens and the template of RoBERTa."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained = json.loads(build("gpt2", VOCAB - len(special) + 1).to_str())["model"]
    words = [w for w in sorted(trained["vocab"], key=trained["vocab"].get) if w != "<|endoftext|>"]
    vocab = {w: i for i, w in enumerate(special[:4] + words)}
    vocab["<mask>"] = len(vocab)
    merges = [tuple(m) for m in trained["merges"]]
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", vocab["</s>"]), ("<s>", vocab["<s>"]), trim_offsets=True, add_prefix_space=False)
    tokenizer.add_special_tokens(special[:4] + [AddedToken("<mask>", lstrip=True, special=True)])
    tokenizer.save(str(out / "tokenizer.json"))
    write_json(out / "tokenizer_config.json", {
        "tokenizer_class": "RobertaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>",
        "pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>", "add_prefix_space": False, "model_max_length": 128,
        "trim_offsets": True, "clean_up_tokenization_spaces": False})


def make(name, cls, config, seed, tokenizer="bert-uncased", finish=None, clear=False):
    """Writes one folder of an encoder with a head, with reference.json; clear makes the labels of tokens differ much."""
    out = OUT / name
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    if tokenizer == "roberta":
        roberta_tokenizer(out)
    else:
        write_tokenizer(out, tokenizer)
    model = cls(config)
    fill(model, seed, 0.5, 1.3, 1.0, 1.3)
    if clear:
        spread(model, AutoTokenizer.from_pretrained(out))
    model.save_pretrained(out)
    if finish:
        finish(out)
    edit_config(out, lambda c: None)
    model = read_model(cls, out)
    reference = header(name, "encoder", seed)
    if "Classification" in cls.__name__:
        reference |= {"labels": [model.config.id2label[i] for i in range(model.config.num_labels)],
                      "problem_type": model.config.problem_type}
    reference |= encoder_reference(model, AutoTokenizer.from_pretrained(out))
    write_json(out / "reference.json", reference)


@torch.no_grad()
def spread(model, tokenizer):
    """Takes out of the scores of labels what all tokens have in common, which in random models is almost all."""
    model.eval()
    hidden = torch.cat([model(**tokenizer(t, return_tensors="pt"), output_hidden_states=True).hidden_states[-1][0] for t in LABELLED])
    model.classifier.weight *= 4
    model.classifier.bias.copy_(-model.classifier.weight @ hidden.mean(0))


@torch.no_grad()
def encoder_reference(model, tokenizer):
    """Hidden states and logits of the usual texts; texts of models that fill masks have some."""
    texts = TEXTS
    if "MaskedLM" in type(model).__name__:
        texts = [(t.format(*[tokenizer.mask_token] * 2), None) for t in MASKED]
    inputs = []
    for text, pair in texts:
        row = tokenizer(text, pair, return_tensors="pt", return_token_type_ids=True)
        types = row["token_type_ids"][0].tolist()
        if "type_vocab_size" not in model.config.to_dict():
            row.pop("token_type_ids")
        output = model(**row, output_hidden_states=True)
        entry = {"text": text, "pair": pair, "ids": row["input_ids"][0].tolist(), "type_ids": types,
                 "hidden": array(output.hidden_states[-1][0])}
        if "start_logits" in output:
            entry["logits"] = array(torch.stack([output.start_logits[0], output.end_logits[0]], 1))
        elif "MaskedLM" in type(model).__name__:
            entry["masks"] = (row["input_ids"][0] == tokenizer.mask_token_id).nonzero()[:, 0].tolist()
            entry["logits"] = array(output.logits[0, entry["masks"]])
        else:
            entry["logits"] = array(output.logits[0])
        inputs.append(entry)
    return {"inputs": inputs}


def both_biases(out):
    """What older versions of the library wrote: the tied head itself, and its bias under both names."""
    rewrite_weights(out, lambda t: t | {"cls.predictions.decoder.weight": t["bert.embeddings.word_embeddings.weight"],
                                        "cls.predictions.decoder.bias": t["cls.predictions.bias"]})


def cross_encoder(out):
    edit_config(out, lambda c: c.update(
        problem_type=None, sentence_transformers={"activation_fn": "torch.nn.modules.activation.Sigmoid", "version": "5.0.0"}))


def labels(*names):
    return {"id2label": dict(enumerate(names)), "label2id": {v: k for k, v in enumerate(names)}}


def distil_config(**more):
    return DistilBertConfig(vocab_size=VOCAB, dim=32, n_layers=2, n_heads=2, hidden_dim=64, max_position_embeddings=128, **more)


def roberta_config(**more):
    return RobertaConfig(**(dict(
        vocab_size=VOCAB, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, max_position_embeddings=130,
        type_vocab_size=1, layer_norm_eps=1e-5, bos_token_id=0, pad_token_id=1, eos_token_id=2) | more))


def electra_config(**more):
    return ElectraConfig(vocab_size=VOCAB, embedding_size=32, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                         intermediate_size=64, max_position_embeddings=128, **more)


FOLDERS = {
    "bert-fill": lambda: make("bert-fill", BertForMaskedLM, bert_config(num_hidden_layers=2), 11, finish=both_biases),
    "bert-answer": lambda: make("bert-answer", BertForQuestionAnswering, bert_config(num_hidden_layers=2), 12),
    "bert-spans": lambda: make("bert-spans", BertForTokenClassification, bert_config(
        num_hidden_layers=2, **labels("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "TIME")), 20, clear=True),
    "bert-rank": lambda: make("bert-rank", BertForSequenceClassification, bert_config(num_hidden_layers=2, num_labels=1), 13,
                              finish=cross_encoder),
    "distilbert-fill": lambda: make("distilbert-fill", DistilBertForMaskedLM, distil_config(), 14),
    "distilbert-classify": lambda: make("distilbert-classify", DistilBertForSequenceClassification,
                                        distil_config(**labels("bad", "good")), 15),
    "roberta-fill": lambda: make("roberta-fill", RobertaForMaskedLM, roberta_config(), 16, tokenizer="roberta"),
    "roberta-classify": lambda: make("roberta-classify", RobertaForSequenceClassification,
                                     roberta_config(**labels("no", "maybe", "yes")), 17, tokenizer="roberta"),
    "roberta-answer": lambda: make("roberta-answer", RobertaForQuestionAnswering, roberta_config(), 18, tokenizer="roberta"),
    "electra-classify": lambda: make("electra-classify", ElectraForSequenceClassification,
                                     electra_config(**labels("bad", "good")), 19),
}


# --- Tasks ----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def vectors(name):
    model = read_model(AutoModelForCausalLM, OUT / name)
    tokenizer = AutoTokenizer.from_pretrained(OUT / name)
    out = []
    for text in VECTORS:
        ids = tokenizer(text)["input_ids"]
        if len(ids) > model.config.max_position_embeddings:
            continue
        hidden = model(torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0]
        out.append({"text": text, "ids": ids, "hidden": array(hidden), "mean": array(hidden.mean(0)), "cls": array(hidden[0]),
                    "last": array(hidden[-1])})
    return {"vectors": out}


def token_labels(name):
    model = read_model(AutoModelForTokenClassification, OUT / name)
    tokenizer = AutoTokenizer.from_pretrained(OUT / name)
    out = []
    for text in LABELLED:
        entry = {"text": text, "words": [w for w in tokenizer(text).word_ids() if w is not None]}
        for how in ["none", "simple", "first", "average", "max"]:
            entry[how] = found_spans(pipeline("token-classification", model=model, tokenizer=tokenizer, aggregation_strategy=how)(text))
        out.append(entry)
    if name != "bert-spans":
        return {"labels": out}
    windows = {how: found_spans(pipeline("token-classification", model=model, tokenizer=tokenizer, aggregation_strategy=how, stride=STRIDE)(LONGER))
               for how in ["simple", "first", "average", "max"]}
    return {"labels": out, "windows": [{"text": LONGER, "stride": STRIDE} | windows]}


def found_spans(found):
    return [{"start": int(e["start"]), "end": int(e["end"]), "label": e.get("entity_group", e.get("entity")),
             "score": float(e["score"])} for e in found]


def masks(name):
    tokenizer = AutoTokenizer.from_pretrained(OUT / name)
    out = []
    for text in MASKED:
        text = text.format(*[tokenizer.mask_token] * 2)
        found = pipeline("fill-mask", model=str(OUT / name), tokenizer=tokenizer, dtype=torch.float32)(text, top_k=7)
        found = [found] if isinstance(found[0], dict) else found
        out.append({"text": text, "top": [[{"id": f["token"], "text": f["token_str"], "score": f["score"], "sequence": f["sequence"]}
                                           for f in row] for row in found]})
    return {"masks": out}


@torch.no_grad()
def rankings(name):
    model, tokenizer = read_model(BertForSequenceClassification, OUT / name), AutoTokenizer.from_pretrained(OUT / name)
    out = []
    for query in ["Is there room?", "how is a model cut", "😀"]:
        scores = [torch.sigmoid(model(**tokenizer(query, d, return_tensors="pt")).logits)[0, 0].item() for d in DOCUMENTS]
        out.append({"query": query, "documents": DOCUMENTS, "scores": scores})
    return {"rankings": out}


def pairs(name):
    tokenizer = AutoTokenizer.from_pretrained(OUT / name)
    classify = pipeline("text-classification", model=str(OUT / name), tokenizer=tokenizer, dtype=torch.float32, top_k=None)
    out = []
    for text, pair in TEXTS + [("Is there room?", d) for d in DOCUMENTS]:
        found = classify([{"text": text, "text_pair": pair} if pair else text])[0]
        out.append({"text": text, "pair": pair, "scores": {f["label"]: f["score"] for f in found}})
    return {"pairs": out}


TASKS = {
    "gpt2": vectors, "gpt2-f16": vectors, "llama": vectors, "llama3-rope": vectors, "qwen2": vectors, "mistral": vectors,
    "bert-tokens": token_labels, "bert-spans": token_labels,
    "bert-fill": masks, "distilbert-fill": masks, "roberta-fill": masks,
    "bert-rank": rankings,
    "bert-classify": pairs, "bert-multilabel": pairs, "distilbert-classify": pairs, "roberta-classify": pairs,
    "electra-classify": pairs,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="name", help="folders (default: all)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name in args.names or sorted(FOLDERS | TASKS):
        if name in FOLDERS:
            FOLDERS[name]()
        if name in TASKS:
            made = {"made_with": header(name, "", 0)["made_with"]} | TASKS[name](name)
            write_json(OUT / name / "tasks.json", made)
        print(f"{name}: {folder_bytes(OUT / name):,} bytes", flush=True)


if __name__ == "__main__":
    main()
