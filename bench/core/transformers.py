"""Decodes greedily with Hugging Face transformers, as a peer: reads {"prompts", "tokens"} and answers {"rate", "first"}, a line each."""

import json
import os
import sys
import time

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TRANSFORMERS_VERBOSITY": "error", "TQDM_DISABLE": "1"}
import torch
from transformers import AutoModelForCausalLM

torch.set_num_threads(len(os.sched_getaffinity(0)))
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32).eval()

for line in sys.stdin:
    ask = json.loads(line)
    with torch.inference_mode():
        began = time.monotonic()
        out = model(input_ids=torch.tensor(ask["prompts"]), use_cache=True)
        chosen = out.logits[:, -1].argmax(-1, keepdim=True)
        first = time.monotonic()
        for _ in range(ask["tokens"] - 1):
            out = model(input_ids=chosen, past_key_values=out.past_key_values, use_cache=True)
            chosen = out.logits[:, -1].argmax(-1, keepdim=True)
        end = time.monotonic()
    steps = len(ask["prompts"]) * (ask["tokens"] - 1)
    print(json.dumps({"rate": steps / (end - first), "first": (first - began) * 1e3}), flush=True)
