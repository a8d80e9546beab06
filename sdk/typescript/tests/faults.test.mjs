// What the client does when what it calls fails. Run by node --test; SKEIN_SDK is where tsc has built it to.
import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { answer, faulty, hangUp, models, pieces, refusal, reset, silent } from "./faulty.mjs";

const { Client, Disconnected, SkeinError } = await import(pathToFileURL(process.env.SKEIN_SDK));

const talk = [{ role: "user", content: "hello" }];
const limit = { timeout: 60_000 }; // a guard, which no test reaches

// on runs f with a client of a server.
async function on(acts, f, options = {}) {
  const s = await faulty(...acts);
  try {
    return await f(new Client({ url: s.url, key: "k", ...options }), s);
  } finally {
    await s.close();
  }
}

async function refused(f, kind = SkeinError) {
  try {
    await f();
  } catch (e) {
    assert.ok(e instanceof kind, `${e}`);
    return e;
  }
  assert.fail("it is not refused");
}

async function texts(stream) {
  const out = [];
  for await (const p of stream) out.push(p.text);
  return out;
}

const body = (request) => request.slice(request.indexOf("\r\n\r\n"));

test("it asks again after what Retry-After says", limit, async () => {
  for (const [status, code] of [[429, "resource_exhausted"], [503, "unavailable"]]) {
    await on([answer(status, refusal(code), { "Retry-After": "0.5" }), models("calc")], async (client, s) => {
      assert.deepEqual((await client.models()).map((m) => m.name), ["calc"]);
      assert.equal(s.asked.length, 2);
      assert.equal(body(s.asked[0]), body(s.asked[1]));
      assert.ok(s.at[1] - s.at[0] >= 450, `${s.at}`);
    });
  }
});

test("it asks again after a pause of its own", limit, async () => {
  for (const after of [undefined, "Thu, 26 Nov 2026 23:00:00 GMT", "soon", "-1", "nan", "Infinity"]) {
    await on([answer(503, "<html>a proxy's</html>", after === undefined ? {} : { "Retry-After": after }), models("calc")], async (client, s) => {
      assert.equal((await client.models()).length, 1);
      assert.equal(s.asked.length, 2);
      assert.ok(s.at[1] - s.at[0] > 100 && s.at[1] - s.at[0] < 5000, `${after}: ${s.at}`);
    });
  }
});

test("it gives up", limit, async () => {
  for (const retries of [0, 1, 3]) {
    await on([answer(429, refusal("resource_exhausted"), { "Retry-After": "0", "X-Request-Id": "r1" })], async (client, s) => {
      const e = await refused(() => client.models());
      assert.deepEqual([e.code, e.status, e.retryAfter, e.requestId, s.asked.length], ["resource_exhausted", 429, 0, "r1", retries + 1]);
    }, { retries });
  }
});

test("it does not wait for long", limit, () => on([answer(429, refusal("resource_exhausted"), { "Retry-After": "3600" })], async (client, s) => {
  assert.equal((await refused(() => client.models())).retryAfter, 3600);
  assert.equal(s.asked.length, 1);
}));

test("a stream that has not begun is asked again", limit, () => on([answer(429, refusal("resource_exhausted"), { "Retry-After": "0" }), pieces(["a", "b"], { end: {} })], async (client, s) => {
  assert.deepEqual(await texts(client.chat("calc", talk)), ["a", "b"]);
  assert.equal(body(s.asked[0]), body(s.asked[1]));
}));

test("whoever is not there is asked again", limit, async () => {
  const s = await faulty(models("calc"));
  await s.close(); // nobody listens there now
  let tries = 0;
  const counted = (...args) => { tries++; return fetch(...args); };
  await refused(() => new Client({ url: s.url, key: "k", retries: 1, fetch: counted }).models(), Disconnected);
  assert.equal(tries, 2);
});

test("what may have been answered is asked once", limit, async () => {
  const calls = { unary: (c, stop) => c.models(stop), stream: (c, stop) => texts(c.chat("calc", talk, {}, stop)) };
  const asksOnce = (act, call, code, status) => on([act], async (client, s) => {
    const e = await refused(() => call(client));
    assert.deepEqual([e.code, e.status, s.asked.length], [code, status, 1]);
  });
  for (const call of Object.values(calls)) {
    for (const act of [hangUp, reset, answer(200, '{"mo', { "Content-Type": "application/json" }, 100)]) await asksOnce(act, call, "unavailable", 0);
    for (const status of [500, 502, 504]) await asksOnce(answer(status, refusal("internal"), { "Retry-After": "0" }), call, "internal", status);
    await on([silent], async (client, s) => {
      await refused(() => call(client, AbortSignal.timeout(300)), DOMException);
      assert.equal(s.asked.length, 1);
    });
  }
  await asksOnce(pieces(["a"]), calls.stream, "unavailable", 0); // it lacks its end
  for (const code of ["unavailable", "resource_exhausted"]) await asksOnce(pieces(["a"], { end: { error: { code, message: "no" } } }), calls.stream, code, 200);
});

test("what came before the cut is given", limit, () => on([pieces(["a", "b"])], async (client) => {
  const got = [];
  await refused(async () => {
    for await (const p of client.chat("calc", talk)) got.push(p.text);
  }, Disconnected);
  assert.deepEqual(got, ["a", "b"]);
}));

test("whoever gives up while it waits is heard at once", limit, () => on([answer(429, refusal("resource_exhausted"), { "Retry-After": "29" })], async (client, s) => {
  const stop = new AbortController();
  const asked = client.models(stop.signal);
  setTimeout(() => stop.abort(), 200);
  await refused(() => asked, DOMException);
  assert.equal(s.asked.length, 1);
}));

test("whoever leaves a stream ends it", limit, async () => {
  for (const how of ["break", "abort"]) {
    await on([pieces(["a"], { stay: true })], async (client, s) => {
      const stop = new AbortController();
      let closed;
      try {
        for await (const _ of client.chat("calc", talk, {}, stop.signal)) {
          closed = once([...s.open][0], "close");
          if (how === "break") break;
          stop.abort();
        }
      } catch (e) {
        assert.equal(how, "abort", `${e}`);
      }
      await closed;
    });
  }
});

test("the key goes nowhere else", limit, async () => {
  await on([models("calc")], (_, other) => on([answer(307, "", { Location: other.url + "/" })], async (client, s) => {
    await refused(() => client.models());
    assert.deepEqual([s.asked.length, other.asked.length], [1, 0]);
  }));
});
