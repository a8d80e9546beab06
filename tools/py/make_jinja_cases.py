"""Writes internal/jinja/testdata/cases.json: what Hugging Face transformers renders for our own templates.

    python tools/py/make_jinja_cases.py           writes the cases
    python tools/py/make_jinja_cases.py --serve   answers one JSON request a line: {"template", "vars"}

Templates are compiled by transformers itself, so that the environment (sandbox, trimming, loop controls, tojson,
generation blocks) is the one users have. The clock of strftime_now stands at NOW.
"""

import datetime
import json
import pathlib
import resource
import sys
import warnings

import jinja2
from transformers.utils import chat_template_utils

from jinja_expressions import EXPRESSIONS, TEMPLATES, VARS

ROOT = pathlib.Path(__file__).resolve().parents[2]
TESTDATA = ROOT / "internal" / "jinja" / "testdata"
MEMORY = 8 << 30  # bytes of address space
NOW = datetime.datetime(2026, 3, 5, 7, 8, 9, 123456)


class FrozenClock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


chat_template_utils.datetime = FrozenClock
warnings.simplefilter("ignore", SyntaxWarning)  # of compiled templates


def render(template, variables):
    """Returns {"output": text} or {"error": class, "message": text}."""
    try:
        compiled = chat_template_utils._compile_jinja_template.__wrapped__(template)
    except (jinja2.TemplateSyntaxError, SyntaxError) as e:
        return {"error": "syntax", "message": str(e)}
    except Exception as e:
        return {"error": "compile", "message": f"{type(e).__name__}: {e}"}
    try:
        out = compiled.render(**variables)
        out.encode("utf-8")
        return {"output": out}
    except Exception as e:
        if type(e) is jinja2.TemplateError:
            return {"error": "raised", "message": str(e)}
        if isinstance(e, MemoryError):
            return {"error": "memory", "message": ""}
        return {"error": "runtime", "message": f"{type(e).__name__}: {e}"}


def serve():
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))  # random templates may ask for any amount
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(render(request["template"], request["vars"])), flush=True)


def cases():
    for i, expression in enumerate(EXPRESSIONS):
        yield f"expression {i}", "{{ " + expression + " }}", VARS
    for i, template in enumerate(TEMPLATES):
        yield f"template {i}", template, VARS
    conversations = json.loads((TESTDATA / "conversations.json").read_text())
    for path in sorted((TESTDATA / "chat").glob("*.jinja")):
        for name, conversation in conversations.items():
            for prompt in (False, True):
                yield f"{path.stem} {name} {prompt}", path.read_text(), {**conversation, "add_generation_prompt": prompt}


def main():
    out = []
    for name, template, variables in cases():
        case = {"name": name, "template": template, "vars": None if variables is VARS else variables}
        result = render(template, variables)
        if result.get("error") != "raised":
            result.pop("message", None)
        out.append({**case, **result})
    lines = ",\n".join(json.dumps(c, ensure_ascii=False) for c in out)
    text = '{"vars": ' + json.dumps(VARS, ensure_ascii=False) + ',\n"cases": [\n' + lines + "\n]}\n"
    (TESTDATA / "cases.json").write_text(text)
    print(len(out), "cases,", sum("error" in c for c in out), "of them errors")


if __name__ == "__main__":
    serve() if "--serve" in sys.argv else main()
