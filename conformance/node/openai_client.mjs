// The official JavaScript client of OpenAI's API.
import assert from "node:assert/strict";
import { KEY, URL_, load, refused, run, version } from "./checks.mjs";

const { default: OpenAI, toFile } = await load("openai");
const { zodResponseFormat } = await load("openai/helpers/zod");
const { z } = await load("zod");
const client = new OpenAI({ baseURL: URL_ + "/v1", apiKey: KEY });
const sum = [{ role: "user", content: "sum 17 25" }];
const tools = [
  { type: "function", function: { name: "get_weather", parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] } } },
  { type: "function", function: { name: "add", parameters: { type: "object" } } },
];

await run("openai-node", version("openai"), {
  models: async () => {
    const names = [];
    for await (const m of client.models.list()) names.push(m.id);
    assert.ok(names.includes("calc") && names.includes("embed"), names.join());
    assert.equal((await client.models.retrieve("calc")).id, "calc");
  },
  chat: async () => {
    const got = await client.chat.completions.create({ model: "calc", messages: sum });
    assert.equal(got.choices[0].message.content.trim(), "42");
    assert.equal(got.choices[0].finish_reason, "stop");
    assert.equal(got.usage.total_tokens, got.usage.prompt_tokens + got.usage.completion_tokens);
  },
  "chat, streamed": async () => {
    let text = "", finish, usage;
    for await (const c of await client.chat.completions.create({ model: "calc", messages: sum, stream: true, stream_options: { include_usage: true } })) {
      text += c.choices[0]?.delta?.content ?? "";
      finish = c.choices[0]?.finish_reason ?? finish;
      usage = c.usage ?? usage;
    }
    assert.deepEqual([text.trim(), finish], ["42", "stop"]);
    assert.ok(usage.completion_tokens > 0);
  },
  completions: async () => {
    const got = await client.completions.create({ model: "calc", prompt: "sort 9 3 14 7 =", max_tokens: 32 });
    assert.equal(got.choices[0].text.trim(), "3 7 9 14");
  },
  tools: async () => {
    const messages = [{ role: "user", content: "hello" }];
    const got = (await client.chat.completions.create({ model: "tools", messages, tools })).choices[0];
    assert.equal(got.finish_reason, "tool_calls");
    assert.deepEqual(got.message.tool_calls.map((c) => c.function.name), ["get_weather", "add"]);
    assert.deepEqual(JSON.parse(got.message.tool_calls[0].function.arguments), { city: "Zürich", unit: "c" });
    messages.push(got.message, ...got.message.tool_calls.map((c) => ({ role: "tool", tool_call_id: c.id, content: "21" })));
    const then = (await client.chat.completions.create({ model: "tools", messages, tools })).choices[0];
    assert.equal(then.message.content, "21 °C.");
  },
  "tools, streamed": async () => {
    const stream = client.chat.completions.stream({ model: "tools", messages: [{ role: "user", content: "hello" }], tools });
    const got = (await stream.finalChatCompletion()).choices[0];
    assert.deepEqual(got.message.tool_calls.map((c) => c.function.name), ["get_weather", "add"]);
    assert.deepEqual(JSON.parse(got.message.tool_calls[1].function.arguments), { a: 2, b: [3, { c: '"}ü' }] });
  },
  "embeddings, base64 and floats": async () => {
    const input = ["disk is full", "all is well"];
    const plain = await client.embeddings.create({ model: "embed", input, encoding_format: "float" });
    const standard = await client.embeddings.create({ model: "embed", input }); // asks for base64
    assert.equal(standard.data.length, 2);
    standard.data.forEach((d, i) => {
      assert.equal(d.embedding.length, 32);
      d.embedding.forEach((x, j) => assert.ok(Math.abs(x - plain.data[i].embedding[j]) < 1e-6));
    });
  },
  responses: async () => {
    const got = await client.responses.create({ model: "calc", input: "sum 17 25" });
    assert.equal(got.output_text.trim(), "42");
    assert.equal((await client.responses.retrieve(got.id)).id, got.id);
    let text = "";
    for await (const e of await client.responses.create({ model: "calc", input: "sum 17 25", stream: true })) {
      if (e.type === "response.output_text.delta") text += e.delta;
    }
    assert.equal(text.trim(), "42");
  },
  "structured outputs": async () => {
    const reading = z.object({ kind: z.enum(["sum", "sort"]), value: z.number().int().min(0).max(999), ok: z.boolean() });
    for (let seed = 0; seed < 3; seed++) {
      const got = await client.chat.completions.parse({ model: "calc", messages: sum, response_format: zodResponseFormat(reading, "reading"), temperature: 1.5, seed });
      assert.deepEqual(reading.parse(got.choices[0].message.parsed), got.choices[0].message.parsed);
    }
  },
  "responses, listed and deleted": async () => {
    const first = await client.responses.create({ model: "calc", input: "sum 17 25" });
    const then = await client.responses.create({ model: "calc", input: "sum 1 2", previous_response_id: first.id });
    const said = [];
    for await (const i of client.responses.inputItems.list(then.id, { order: "asc", limit: 1 })) said.push(i.content[0].text.trim());
    assert.deepEqual(said, ["sum 17 25", "42", "sum 1 2"]);
    await client.responses.delete(then.id);
    await refused(OpenAI.NotFoundError, () => client.responses.retrieve(then.id));
  },
  "files, by pages": async () => {
    const made = [];
    for (let i = 0; i < 3; i++) made.push(await client.files.create({ file: await toFile(Buffer.from("{}\n"), `${i}.jsonl`), purpose: "batch" }));
    const seen = [];
    for await (const f of client.files.list({ limit: 1, order: "asc" })) seen.push(f.id);
    assert.deepEqual(seen.filter((id) => made.some((f) => f.id === id)), made.map((f) => f.id));
    for (const f of made) assert.ok((await client.files.delete(f.id)).deleted);
    await refused(OpenAI.NotFoundError, () => client.files.retrieve(made[0].id));
  },
  batches: async () => {
    const lines = ["a", "b"].map((id) => JSON.stringify({ custom_id: id, method: "POST", url: "/v1/chat/completions", body: { model: "calc", messages: sum } }));
    const file = await client.files.create({ file: await toFile(Buffer.from(lines.join("\n")), "in.jsonl"), purpose: "batch" });
    let batch = await client.batches.create({ input_file_id: file.id, endpoint: "/v1/chat/completions", completion_window: "24h" });
    for (let i = 0; i < 300 && !["completed", "failed", "expired"].includes(batch.status); i++) {
      await new Promise((done) => setTimeout(done, 200));
      batch = await client.batches.retrieve(batch.id);
    }
    assert.deepEqual([batch.status, batch.request_counts.completed], ["completed", 2]);
    const out = (await (await client.files.content(batch.output_file_id)).text()).trim().split("\n").map((x) => JSON.parse(x));
    assert.deepEqual(out.map((x) => [x.custom_id, x.response.body.choices[0].message.content.trim()]), [["a", "42"], ["b", "42"]]);
  },
  errors: async () => {
    let e = await refused(OpenAI.AuthenticationError, () => new OpenAI({ baseURL: URL_ + "/v1", apiKey: "sk-wrong" }).models.list());
    assert.equal(e.code, "invalid_api_key");
    e = await refused(OpenAI.NotFoundError, () => client.chat.completions.create({ model: "none", messages: sum }));
    assert.equal(e.code, "model_not_found");
    await refused(OpenAI.BadRequestError, () => client.chat.completions.create({ model: "calc", messages: sum, temperature: -1 }));
    e = await refused(OpenAI.BadRequestError, () => client.chat.completions.create({ model: "calc", messages: [{ role: "user", content: "1 ".repeat(5000) }] }));
    assert.equal(e.code, "context_length_exceeded");
  },
  abort: async () => {
    for (let i = 0; i < 8; i++) { // more than there are places: each stream that is left gives its place back
      const stream = await client.chat.completions.create({ model: "tools", messages: [{ role: "user", content: "loop" }], stream: true });
      let pieces = 0;
      for await (const _ of stream) if (++pieces === 3) break;
      stream.controller.abort();
    }
    const got = await client.chat.completions.create({ model: "tools", messages: [{ role: "user", content: "hello" }] });
    assert.equal(got.choices[0].finish_reason, "stop");
  },
});
