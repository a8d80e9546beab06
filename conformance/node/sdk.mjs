// Skein's own client, sdk/typescript, as tsc builds it.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { KEY, URL_, refused, run } from "./checks.mjs";

const built = new URL("../../build/conformance/typescript/index.js", import.meta.url);
const { Client, Disconnected, SkeinError, Tensor } = await import(built);
const client = new Client({ url: URL_, key: KEY });
const { version } = JSON.parse(readFileSync(new URL("../../sdk/typescript/package.json", import.meta.url), "utf8"));

async function text(pieces) {
  let out = "", last;
  for await (const p of pieces) {
    out += p.text;
    last = p;
  }
  return [out.trim(), last.finishReason, last.usage.completionTokens > 0];
}
const norm = (v) => Math.abs(v.reduce((s, x) => s + x * x, 0) - 1) < 1e-4;

await run("skein (TypeScript SDK)", version, {
  models: async () => {
    const calc = (await client.models()).find((m) => m.name === "calc");
    assert.ok(calc.ready >= 1 && calc.created.getTime() > 0);
  },
  generate: async () => assert.deepEqual(await text(client.generate("calc", "sort 9 3 14 7 =", { maxTokens: 32 })), ["3 7 9 14", "stop", true]),
  chat: async () => {
    assert.deepEqual(await text(client.chat("calc", [{ role: "user", content: "sum 17 25" }], { seed: 2n ** 64n - 1n, temperature: 0 })), ["42", "stop", true]);
    for await (const p of client.chat("calc", [{ role: "user", content: "sum 17 25" }], { logprobs: true, topLogprobs: 2 })) {
      for (const t of p.tokens) assert.ok(t.logprob <= 0 && t.top.length === 2);
    }
  },
  embed: async () => {
    const got = await client.embed("embed", ["disk is full", "all is well"], { pooling: "mean", normalize: true });
    assert.ok(got.vectors.length === 2 && got.vectors.every((v) => v.length === 32 && norm(v)));
    assert.equal((await client.embedTokens("embed", ["disk"])).results[0][0].values.length, 32);
  },
  classify: async () => {
    const got = await client.classify("triage", ["no space left on device while writing /var/log", ["gpu 3 on node-7 has fallen off the bus", ""]]);
    assert.deepEqual(got.results.map((r) => r[0].name), ["disk", "gpu"]);
  },
  "label tokens": async () => {
    const asked = "🌞这台机器人不能用。";
    const got = (await client.labelTokens("segment", [asked])).results[0];
    for (const s of got) assert.equal(asked.slice(s.start, s.end), s.text);
    assert.equal(got.at(-1).end, asked.length);
  },
  fill: async () => {
    const got = (await client.fillMask("fill", ["The scheduler keeps a [MASK] of every machine."], { top: 3 })).results[0][0];
    assert.ok(got.length === 3 && got[0].score >= got[1].score && got[2].score > 0);
  },
  answer: async () => {
    const context = "🌞 The scheduler keeps a table of every machine.";
    const got = await client.answer("answer", "What is kept?", context, { best: 2 });
    assert.equal(got.answers.length, 2);
    for (const a of got.answers) assert.equal(context.slice(a.start, a.end), a.text);
  },
  rerank: async () => {
    const got = (await client.rerank("rank", "disk", ["all well", "disk is full", "rain"])).results;
    assert.deepEqual(got.map((r) => r.index).sort(), [0, 1, 2]);
  },
  "infer tensors": async () => {
    const got = await client.infer("embed", [Tensor.of("input_ids", "I64", [1, 3], BigInt64Array.of(2n, 7n, 3n))], ["sentence_embedding"]);
    assert.deepEqual([got.outputs[0].name, got.outputs[0].dtype, got.outputs[0].shape], ["sentence_embedding", "F32", [1, 32]]);
    assert.ok(norm([...got.outputs[0].values()]));
  },
  constraints: async () => {
    const said = async (form) => {
      let out = "";
      for await (const p of client.generate("calc", "sum 17 25 =", { temperature: 0, ...form })) out += p.text;
      return out;
    };
    const schema = { type: "object", properties: { sum: { type: "integer", minimum: 0, maximum: 999 } }, required: ["sum"], additionalProperties: false };
    assert.ok(JSON.parse(await said({ constraint: { jsonSchema: schema } })).sum <= 999);
    assert.equal(await said({ constraint: { choice: [" 42", "yes"] }, logitBias: { 3: -1 } }), " 42");
    assert.match(await said({ constraint: { regex: "[a-c]{4}" } }), /^[a-c]{4}$/);
  },
  errors: async () => {
    assert.equal((await refused(SkeinError, () => client.embed("none", ["x"]))).code, "not_found");
    assert.equal((await refused(SkeinError, () => text(client.chat("none", [])))).code, "not_found");
    assert.equal((await refused(SkeinError, () => client.embed("embed", []))).code, "invalid_argument");
    const e = await refused(SkeinError, () => new Client({ url: URL_, key: "sk-wrong" }).models());
    assert.ok(e.code === "unauthenticated" && e.status === 401 && e.requestId);
    await refused(Disconnected, () => new Client({ url: "http://127.0.0.1:9", key: "k" }).models());
  },
  "retries, and what fails": async () => {
    const tests = fileURLToPath(new URL("../../sdk/typescript/tests/", import.meta.url));
    await promisify(execFile)(process.execPath, ["--test", tests], { env: { ...process.env, SKEIN_SDK: fileURLToPath(built) } });
  },
  abort: async () => {
    for (let i = 0; i < 8; i++) { // more than there are places: each stream that is left gives its place back
      for await (const _ of client.chat("tools", [{ role: "user", content: "loop" }])) break;
    }
    const stop = new AbortController();
    await refused(DOMException, async () => {
      for await (const _ of client.chat("tools", [{ role: "user", content: "loop" }], {}, stop.signal)) stop.abort();
    });
    assert.equal((await text(client.chat("tools", [{ role: "user", content: "hello" }])))[1], "stop");
  },
});
