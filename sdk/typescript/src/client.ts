import { Tensor } from "./tensor.js";
import { Transport, type Json } from "./transport.js";
import type * as t from "./types.js";

export interface Options {
  url: string; // of the client API, for example http://127.0.0.1:8080
  key: string;
  retries?: number; // how often what is refused for now (429, 503) is tried again, after what Retry-After says; default 2
  fetch?: typeof globalThis.fetch;
}

// Client calls one cluster with one key. Every call throws SkeinError; a signal that is aborted ends the call here and at the cluster.
export class Client {
  private readonly transport: Transport;

  constructor(options: Options) {
    const url = new URL(options.url);
    if (url.protocol !== "http:" && url.protocol !== "https:") throw new TypeError(`${options.url} is no URL of http or https`);
    if (!options.key) throw new TypeError("no key");
    this.transport = new Transport(options.url.replace(/\/+$/, ""), options.key, options.retries ?? 2, options.fetch ?? globalThis.fetch.bind(globalThis));
  }

  // generate continues a text, or a sequence of token ids, piece by piece.
  async *generate(model: string, prompt: string | number[], sampling: t.Sampling = {}, signal?: AbortSignal): AsyncGenerator<t.Piece, void> {
    const input = typeof prompt === "string" ? { prompt } : { tokens: { ids: prompt } };
    for await (const v of this.transport.stream("Generate", { model, ...input, ...asked(sampling) }, signal)) yield piece(v);
  }

  // chat continues a conversation, piece by piece.
  async *chat(model: string, messages: t.Message[], sampling: t.Sampling = {}, signal?: AbortSignal): AsyncGenerator<t.Piece, void> {
    for await (const v of this.transport.stream("Chat", { model, messages, ...asked(sampling) }, signal)) yield piece(v);
  }

  // embed makes a vector per text; without a pooling as the model declares.
  async embed(model: string, texts: string[], options: { pooling?: "cls" | "mean" | "last"; normalize?: boolean; signal?: AbortSignal } = {}): Promise<t.Embeddings> {
    const ask: Json = { model, texts };
    if (options.pooling) ask.pooling = "POOLING_" + options.pooling.toUpperCase();
    if (options.normalize !== undefined) ask.normalize = options.normalize;
    const v = await this.transport.unary("Embed", ask, options.signal);
    return { vectors: list(v.vectors).map((x) => numbers(x.values)), ...end(v) };
  }

  // embedTokens makes a vector per token.
  async embedTokens(model: string, texts: string[], signal?: AbortSignal): Promise<t.TokenVectors> {
    const v = await this.transport.unary("EmbedTokens", { model, texts, offsets: utf16 }, signal);
    const token = (x: Json) => ({ id: x.id ?? 0, text: x.text ?? "", start: x.start ?? 0, end: x.end ?? 0, values: numbers(x.values) });
    return { results: list(v.results).map((r) => list(r.tokens).map(token)), ...end(v) };
  }

  // classify gives every label a score, for each text or pair of texts.
  async classify(model: string, inputs: (string | [text: string, pair: string])[], signal?: AbortSignal): Promise<t.Classified> {
    const v = await this.transport.unary("Classify", { model, inputs: inputs.map((i) => (typeof i === "string" ? { text: i } : { text: i[0], pair: i[1] })) }, signal);
    return { results: list(v.results).map((r) => list(r.labels).map((l) => ({ name: l.name ?? "", score: Number(l.score ?? 0) }))), ...end(v) };
  }

  // labelTokens finds the spans that a token classifier labels.
  async labelTokens(model: string, texts: string[], options: { aggregation?: "none" | "simple" | "first" | "average" | "max"; outside?: boolean; signal?: AbortSignal } = {}): Promise<t.Labeled> {
    const ask: Json = { model, texts, outside: options.outside ?? false, offsets: utf16 };
    if (options.aggregation) ask.aggregation = "AGGREGATION_" + options.aggregation.toUpperCase();
    const v = await this.transport.unary("LabelTokens", ask, options.signal);
    return { results: list(v.results).map((r) => list(r.spans).map((s) => ({ ...found(s), label: s.label ?? "" }))), ...end(v) };
  }

  // fillMask finds the most likely tokens for the masks of texts.
  async fillMask(model: string, texts: string[], options: { top?: number; signal?: AbortSignal } = {}): Promise<t.Filled> {
    const v = await this.transport.unary("FillMask", { model, texts, top: options.top ?? 0 }, options.signal);
    const fill = (f: Json) => ({ id: f.id ?? 0, text: f.text ?? "", score: Number(f.score ?? 0), sequence: f.sequence ?? "" });
    return { results: list(v.results).map((r) => list(r.masks).map((m) => list(m.fills).map(fill))), ...end(v) };
  }

  // answer finds the parts of a context that answer a question.
  async answer(model: string, question: string, context: string, options: { best?: number; maxAnswerTokens?: number; splitWords?: boolean; signal?: AbortSignal } = {}): Promise<t.AnsweredQuestion> {
    const { signal, ...rest } = options;
    const v = await this.transport.unary("Answer", { model, question, context, offsets: utf16, ...rest }, signal);
    return { answers: list(v.answers).map(found), noAnswerScore: Number(v.noAnswerScore ?? 0), ...end(v) };
  }

  // rerank scores how well documents fit a query, best first.
  async rerank(model: string, query: string, documents: string[], options: { top?: number; maxDocumentTokens?: number; signal?: AbortSignal } = {}): Promise<t.Reranked> {
    const { signal, ...rest } = options;
    const v = await this.transport.unary("Rerank", { model, query, documents, ...rest }, signal);
    return { results: list(v.results).map((r) => ({ index: r.index ?? 0, score: Number(r.score ?? 0) })), ...end(v) };
  }

  // infer runs a model on tensors. outputs are names of what is wanted; none = all.
  async infer(model: string, inputs: Tensor[], outputs: string[] = [], signal?: AbortSignal): Promise<t.Inferred> {
    const v = await this.transport.unary("Infer", { model, inputs, outputs }, signal);
    return { outputs: list(v.outputs).map(Tensor.fromJSON), modelVersion: v.modelVersion ?? "" };
  }

  // models lists what can be called now.
  async models(signal?: AbortSignal): Promise<t.Model[]> {
    const v = await this.transport.unary("ListModels", {}, signal);
    return list(v.models).map((m) => ({ name: m.name ?? "", version: m.version ?? "", tasks: m.tasks ?? [], ready: m.ready ?? 0, created: new Date(Number(m.created ?? 0) * 1000) }));
  }
}

const utf16 = "OFFSET_UNIT_UTF16"; // as strings of JavaScript count

// Zeros are left out of the JSON of a message, and what is not finite is a string.
const list = (v: Json[] | undefined): Json[] => v ?? [];
const numbers = (v: (number | string)[] | undefined): number[] => (v ?? []).map(Number);
const usage = (v: Json | undefined): t.Usage => ({ promptTokens: v?.promptTokens ?? 0, completionTokens: v?.completionTokens ?? 0 });
const end = (v: Json): t.End => ({ usage: usage(v.usage), modelVersion: v.modelVersion ?? "" });
const found = (a: Json): t.FoundAnswer => ({ start: a.start ?? 0, end: a.end ?? 0, text: a.text ?? "", score: Number(a.score ?? 0) });

function asked(s: t.Sampling): Json {
  const { seed, constraint, ...rest } = s;
  const sampling = seed === undefined ? rest : { ...rest, seed: String(seed) }; // 64 bits do not fit into a number of JSON
  return constraint === undefined ? { sampling } : { sampling, constraint: form(constraint) };
}

function form(c: t.Constraint): Json {
  if ("choice" in c) return { choice: { texts: c.choice } };
  if ("jsonSchema" in c) return { jsonSchema: typeof c.jsonSchema === "string" ? c.jsonSchema : JSON.stringify(c.jsonSchema) };
  return c;
}

function token(v: Json): t.Token {
  const out: t.Token = { id: v.id ?? 0, text: v.text ?? "" };
  if (v.logprob !== undefined) out.logprob = Number(v.logprob);
  if (v.top) out.top = list(v.top).map(token);
  return out;
}

function piece(v: Json): t.Piece {
  const out: t.Piece = { text: v.text ?? "", tokens: list(v.tokens).map(token), modelVersion: v.modelVersion ?? "" };
  if (v.finishReason === "FINISH_REASON_STOP") out.finishReason = "stop";
  if (v.finishReason === "FINISH_REASON_LENGTH") out.finishReason = "length";
  if (v.usage) out.usage = usage(v.usage);
  return out;
}
