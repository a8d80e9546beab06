"""Makes answers.json of the folders of testdata/models that answer questions: what the pipeline of transformers 4 finds.

Transformers 5 has no QuestionAnsweringPipeline any more. Usage, from the root of the repository:

    pip install --target DIR transformers==4.57.1 tokenizers==0.22.1 huggingface_hub==0.35.3 requests
    PYTHONPATH=DIR .venv/bin/python tools/py/make_answers.py

answers.json:

    made_with
    questions: [{question, context, best, max_answer_tokens, window, overlap, split_words,
                 answers: [{start, end, text, score}],             best first, offsets in characters
                 none}]                                            probability of no answer
"""

import json
import pathlib

import tokenizers
import torch
import transformers
from transformers import AutoModelForQuestionAnswering, AutoTokenizer, pipeline
from transformers.pipelines import question_answering

OUT = pathlib.Path(__file__).resolve().parents[2] / "testdata" / "models"
SHORT = "When a node is lost, its replicas are placed again on the machines that are left; nobody has to wake up."
LONG = ("The scheduler keeps a table of every machine in the fleet, and asks each one what it holds. " + SHORT + " A model that is too "
        "large for one card is cut into stages 😀, and the stages talk to each other over the network. Où étiez-vous hier? "
        "机器把模型切成几段，每一段放在一张卡上。 The quick reader walked, talked, jumped and played.")
QUESTIONS = [
    {"question": "Who has to wake up?", "context": SHORT, "best": 1},
    {"question": "Who has to wake up?", "context": SHORT, "best": 5, "max_answer_tokens": 8},
    {"question": "Who has to wake up?", "context": SHORT, "best": 5, "split_words": True},
    {"question": "What is cut?", "context": LONG, "best": 6, "window": 64, "overlap": 16},
    {"question": "What is cut into stages?", "context": LONG, "best": 3, "window": 48, "overlap": 0, "max_answer_tokens": 30},
    {"question": "What is cut?", "context": LONG, "best": 4, "window": 100, "overlap": 40, "split_words": True},
    {"question": "😀?", "context": "disk", "best": 1},
]


def ask(answer, q):
    """Asks, and listens to how likely the pipeline holds it that there is no answer: it tells only where that is among the best."""
    none = []
    inner = question_answering.select_starts_ends

    def listen(start, end, p_mask, attention_mask, least, *rest):
        found = inner(start, end, p_mask, attention_mask, least, rest[0], True, *rest[2:])
        none.append(found[3])
        return found

    question_answering.select_starts_ends = listen
    found = answer(question=q["question"], context=q["context"], top_k=q["best"], max_answer_len=q.get("max_answer_tokens", 15),
                   max_seq_len=q.get("window", 128), doc_stride=q.get("overlap", 64), align_to_words=not q.get("split_words", False))
    question_answering.select_starts_ends = inner
    found = [found] if isinstance(found, dict) else found
    return q | {"answers": [{"start": a["start"], "end": a["end"], "text": a["answer"], "score": float(a["score"])} for a in found],
                "none": float(none[-1])}


def main():
    torch.set_num_threads(1)
    for folder in sorted(OUT.glob("*-answer")):
        model = AutoModelForQuestionAnswering.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
        answer = pipeline("question-answering", model=model, tokenizer=AutoTokenizer.from_pretrained(folder))
        made = {"made_with": {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__,
                              "tokenizers": tokenizers.__version__}, "questions": [ask(answer, q) for q in QUESTIONS]}
        (folder / "answers.json").write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n")
        print(folder.name, [[a["text"] for a in q["answers"]] for q in made["questions"]])


if __name__ == "__main__":
    main()
