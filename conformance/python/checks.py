"""Runs checks and prints one line of JSON for each; the first line says which client it is."""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import Any, Callable, List, Tuple

URL = os.environ["SKEIN_URL"]
KEY = os.environ["SKEIN_KEY"]

_checks: List[Tuple[str, Callable[[], Any]]] = []


def check(name: str) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Marks a function as a check: it passes if it raises nothing."""

    def mark(f: Callable[[], Any]) -> Callable[[], Any]:
        _checks.append((name, f))
        return f

    return mark


def same(got: Any, want: Any) -> None:
    """Fails unless both are equal."""
    if got != want:
        raise AssertionError(f"got {got!r}, want {want!r}")


def near(got: Any, want: Any, within: float = 1e-4) -> None:
    """Fails unless both are equal sequences of numbers, nearly."""
    got, want = list(got), list(want)
    same(len(got), len(want))
    worst = max((abs(a - b) for a, b in zip(got, want)), default=0.0)
    if not worst <= within:
        raise AssertionError(f"numbers differ by {worst}")


def refused(kind: type, f: Callable[[], Any]) -> Any:
    """Fails unless f raises such an error, which it gives."""
    try:
        got = f()
    except kind as e:
        return e
    raise AssertionError(f"not refused: {got!r}")


def run(client: str, version: str) -> None:
    """Runs every check."""
    print(json.dumps({"client": client, "version": version}), flush=True)
    for name, f in _checks:
        try:
            f()
            line = {"check": name, "ok": True}
        except Exception as e:  # noqa: BLE001: whatever it is, the check failed
            traceback.print_exc(file=sys.stderr)
            line = {"check": name, "ok": False, "why": f"{type(e).__name__}: {e}"[:500]}
        print(json.dumps(line), flush=True)
