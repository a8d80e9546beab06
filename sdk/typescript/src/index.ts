// Client of Skein's inference API, skein.inference.v1, by Connect's protocol with JSON over fetch: Node 20 or later, and browsers.
export { Client, type Options } from "./client.js";
export { Disconnected, SkeinError } from "./errors.js";
export { Tensor, type DType } from "./tensor.js";
export type * from "./types.js";
