// The Vercel AI SDK, by its provider for servers that speak OpenAI's API.
import assert from "node:assert/strict";
import { KEY, URL_, load, refused, run, version } from "./checks.mjs";

const { APICallError, embedMany, generateObject, generateText, streamText, stepCountIs, tool } = await load("ai");
const { createOpenAICompatible } = await load("@ai-sdk/openai-compatible");
const { z } = await load("zod");
const skein = createOpenAICompatible({ name: "skein", baseURL: URL_ + "/v1", apiKey: KEY, includeUsage: true, supportsStructuredOutputs: true });
const tools = {
  get_weather: tool({ description: "The weather of a city", inputSchema: z.object({ city: z.string(), unit: z.string() }), execute: async ({ city }) => `21 in ${city}` }),
  add: tool({ description: "Adds", inputSchema: z.object({ a: z.number(), b: z.array(z.any()) }), execute: async () => "7" }),
};

await run("Vercel AI SDK", `ai ${version("ai")}, @ai-sdk/openai-compatible ${version("@ai-sdk/openai-compatible")}`, {
  generateText: async () => {
    const got = await generateText({ model: skein("calc"), prompt: "sum 17 25" });
    assert.equal(got.text.trim(), "42");
    assert.equal(got.finishReason, "stop");
    assert.ok(got.usage.totalTokens > 0);
  },
  streamText: async () => {
    let text = "";
    const got = streamText({ model: skein("calc"), prompt: "sum 17 25" });
    for await (const part of got.textStream) text += part;
    assert.equal(text.trim(), "42");
    assert.ok((await got.usage).outputTokens > 0);
  },
  "tools, over two steps": async () => {
    const got = await generateText({ model: skein("tools"), prompt: "hello", tools, stopWhen: stepCountIs(3) });
    assert.deepEqual(got.steps[0].toolCalls.map((c) => c.toolName), ["get_weather", "add"]);
    assert.equal(got.steps[0].toolResults[0].output, "21 in Zürich");
    assert.equal(got.text, "21 °C.");
  },
  "tools, streamed": async () => {
    const got = streamText({ model: skein("tools"), prompt: "hello", tools });
    assert.deepEqual((await got.toolCalls).map((c) => c.toolName), ["get_weather", "add"]);
  },
  generateObject: async () => {
    const schema = z.object({ kind: z.enum(["sum", "sort"]), value: z.number().int().min(0).max(999), ok: z.boolean() });
    const got = await generateObject({ model: skein("calc"), prompt: "sum 17 25", schema, temperature: 1.5, seed: 1 });
    assert.deepEqual(schema.parse(got.object), got.object);
  },
  embedMany: async () => {
    const got = await embedMany({ model: skein.textEmbeddingModel("embed"), values: ["disk is full", "all is well"] });
    assert.deepEqual(got.embeddings.map((v) => v.length), [32, 32]);
  },
  errors: async () => {
    const e = await refused(APICallError, () => generateText({ model: skein("none"), prompt: "x", maxRetries: 0 }));
    assert.equal(e.statusCode, 404);
  },
  abort: async () => {
    for (let i = 0; i < 8; i++) { // more than there are places: each stream that is left gives its place back
      const stop = new AbortController();
      const got = streamText({ model: skein("tools"), prompt: "loop", abortSignal: stop.signal, onError: () => {} });
      for await (const _ of got.textStream) {
        stop.abort();
        break;
      }
    }
    assert.equal((await generateText({ model: skein("tools"), prompt: "hello" })).finishReason, "stop");
  },
});
