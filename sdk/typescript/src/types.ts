import type { Tensor } from "./tensor.js";

// Sampling says how tokens are chosen. What is left out takes the model's defaults.
export interface Sampling {
  temperature?: number; // 0 = greedy
  topK?: number;
  topP?: number;
  seed?: number | bigint;
  stop?: string[];
  maxTokens?: number;
  logprobs?: boolean;
  topLogprobs?: number;
  frequencyPenalty?: number;
  presencePenalty?: number;
  repetitionPenalty?: number;
  logitBias?: Record<number, number>; // by token id
  constraint?: Constraint; // what the answer must look like
}

// Constraint says what the text of an answer looks like; one of it.
export type Constraint = { jsonObject: true } | { jsonSchema: object | string } | { regex: string } | { choice: string[] };

export interface Message {
  role: string;
  content: string;
}

export interface Usage {
  promptTokens: number;
  completionTokens: number;
}

// End is what every whole answer ends with.
export interface End {
  usage: Usage;
  modelVersion: string;
}

export interface Token {
  id: number;
  text: string;
  logprob?: number;
  top?: Token[];
}

// Piece is a part of an answer. finishReason and usage are in the last one only.
export interface Piece {
  text: string;
  tokens: Token[];
  finishReason?: "stop" | "length";
  usage?: Usage;
  modelVersion: string;
}

export interface Embeddings extends End {
  vectors: number[][];
}

// TokenVector is a token, where it is in the text in code units (both 0: nowhere), and its vector.
export interface TokenVector {
  id: number;
  text: string;
  start: number;
  end: number;
  values: number[];
}

export interface TokenVectors extends End {
  results: TokenVector[][];
}

export interface Label {
  name: string;
  score: number;
}

// Classified has for each input all labels, highest score first.
export interface Classified extends End {
  results: Label[][];
}

// Span is a labelled part of a text, in code units, as slice takes them.
export interface Span {
  start: number;
  end: number;
  text: string;
  label: string;
  score: number;
}

export interface Labeled extends End {
  results: Span[][];
}

export interface Fill {
  id: number;
  text: string;
  score: number;
  sequence: string;
}

// Filled has for each text, for each of its masks, the most likely tokens.
export interface Filled extends End {
  results: Fill[][][];
}

// FoundAnswer is a part of the context, in code units, as slice takes them.
export interface FoundAnswer {
  start: number;
  end: number;
  text: string;
  score: number;
}

export interface AnsweredQuestion extends End {
  answers: FoundAnswer[];
  noAnswerScore: number;
}

export interface Ranking {
  index: number; // in the request
  score: number;
}

// Reranked has the documents, best first.
export interface Reranked extends End {
  results: Ranking[];
}

export interface Inferred {
  outputs: Tensor[];
  modelVersion: string;
}

export interface Model {
  name: string;
  version: string;
  tasks: string[];
  ready: number; // replicas that answer now
  created: Date;
}
