"""What the client does when what it calls fails. Run by: PYTHONPATH=src python3 -m unittest discover tests"""

import threading
import time
import unittest
from typing import Any

import skein
from faulty import Act, Faulty, answer, hang_up, models, pieces, refusal, reset

FOREVER = 60.0  # seconds: a guard, which no test reaches

TALK = [{"role": "user", "content": "hello"}]


class Faults(unittest.TestCase):
    def refused(self, f: Any) -> skein.SkeinError:
        with self.assertRaises(skein.SkeinError) as got:
            f()
        return got.exception

    def test_asks_again_after_what_retry_after_says(self) -> None:
        for status, code in ((429, "resource_exhausted"), (503, "unavailable")):
            with self.subTest(status), Faulty(answer(status, refusal(code), retry_after="0.5"), models("calc")) as s:
                self.assertEqual([m.name for m in skein.Client(s.url, "k").models()], ["calc"])
                self.assertEqual(len(s.asked), 2)
                self.assertEqual(s.asked[0], s.asked[1])
                self.assertGreaterEqual(s.at[1] - s.at[0], 0.45)

    def test_asks_again_after_a_pause_of_its_own(self) -> None:
        for after in (None, "Thu, 26 Nov 2026 23:00:00 GMT", "soon", "-1", "nan", "inf"):
            headers = {} if after is None else {"retry_after": after}
            with self.subTest(after), Faulty(answer(503, b"<html>a proxy's</html>", **headers), models("calc")) as s:
                self.assertEqual(len(skein.Client(s.url, "k").models()), 1)
                self.assertEqual(len(s.asked), 2)
                self.assertTrue(0.1 <= s.at[1] - s.at[0] < 5, s.at)

    def test_gives_up(self) -> None:
        for retries in (0, 1, 3):
            with self.subTest(retries), Faulty(answer(429, refusal("resource_exhausted"), retry_after="0", x_request_id="r1")) as s:
                e = self.refused(skein.Client(s.url, "k", retries=retries).models)
                self.assertEqual((e.code, e.status, e.retry_after, e.request_id, len(s.asked)), ("resource_exhausted", 429, 0.0, "r1", retries + 1))

    def test_does_not_wait_for_long(self) -> None:
        with Faulty(answer(429, refusal("resource_exhausted"), retry_after="3600")) as s:
            began = time.monotonic()
            e = self.refused(skein.Client(s.url, "k").models)
            self.assertEqual((e.retry_after, len(s.asked)), (3600.0, 1))
            self.assertLess(time.monotonic() - began, FOREVER)

    def test_a_stream_that_has_not_begun_is_asked_again(self) -> None:
        with Faulty(answer(429, refusal("resource_exhausted"), retry_after="0"), pieces("a", "b", end={})) as s:
            self.assertEqual([p.text for p in skein.Client(s.url, "k").chat("calc", TALK)], ["a", "b"])
            self.assertEqual(s.asked[0], s.asked[1])

    def test_whoever_is_not_there_is_asked_again(self) -> None:
        with Faulty(models("calc"), listening=False) as s:
            e = self.refused(skein.Client(s.url, "k", retries=1).models)
            self.assertIsInstance(e, skein.Disconnected)
            self.assertEqual(s.asked, [])
            threading.Timer(0.2, s.listen).start()
            self.assertEqual(len(skein.Client(s.url, "k", retries=6).models()), 1)
            self.assertEqual(len(s.asked), 1)

    def once(self, act: Act, f: Any, code: str, status: int) -> None:
        """What may have been answered is asked once."""
        with Faulty(act) as s:
            e = self.refused(lambda: f(skein.Client(s.url, "k", timeout=0.5)))
            self.assertEqual((e.code, e.status, len(s.asked)), (code, status, 1))

    def test_what_may_have_been_answered_is_asked_once(self) -> None:
        calls = {"unary": lambda c: c.models(), "stream": lambda c: list(c.chat("calc", TALK))}
        stays = threading.Event()
        for name, f in calls.items():
            for act in (hang_up, reset, answer(200, b'{"mo', length=100, content_type="application/json"), lambda _: stays.wait(FOREVER)):
                with self.subTest(name):
                    self.once(act, f, "unavailable", 0)
            for status in (500, 502, 504):
                with self.subTest(name, status=status):
                    self.once(answer(status, refusal("internal"), retry_after="0"), f, "internal", status)
        stays.set()
        self.once(pieces("a"), calls["stream"], "unavailable", 0)  # it lacks its end
        self.once(pieces("a", end={"error": {"code": "unavailable", "message": "gone"}}), calls["stream"], "unavailable", 200)
        self.once(pieces("a", end={"error": {"code": "resource_exhausted", "message": "full"}}), calls["stream"], "resource_exhausted", 200)

    def test_what_came_before_the_cut_is_given(self) -> None:
        with Faulty(pieces("a", "b")) as s:
            stream = skein.Client(s.url, "k").chat("calc", TALK)
            self.assertEqual([next(stream).text, next(stream).text], ["a", "b"])
            self.assertRaises(skein.Disconnected, next, stream)

    def test_whoever_leaves_a_stream_ends_it(self) -> None:
        gone = threading.Event()
        with Faulty(pieces("a", hold=gone)) as s:
            stream = skein.Client(s.url, "k").chat("calc", TALK)
            self.assertEqual(next(stream).text, "a")
            del stream
            self.assertTrue(gone.wait(FOREVER), "the connection is still there")

    def test_the_key_goes_nowhere_else(self) -> None:
        with Faulty(models("calc")) as other, Faulty(answer(307, location=other.url + "/")) as s:
            self.assertEqual(self.refused(skein.Client(s.url, "k").models).status, 307)
            self.assertEqual((len(s.asked), other.asked), (1, []))


if __name__ == "__main__":
    unittest.main()
