import { Disconnected, SkeinError } from "./errors.js";

const service = "/skein.inference.v1.InferenceService/";
const maxMessage = 256 * 2 ** 20; // bytes of one message of a stream
const maxWait = 30; // seconds between two tries; a longer Retry-After is an error at once
const compressed = 1;
const end = 2;

export type Json = { [name: string]: any };

// Transport calls one cluster with one key.
export class Transport {
  constructor(
    private readonly url: string,
    private readonly key: string,
    private readonly retries: number,
    private readonly fetch: typeof globalThis.fetch,
  ) {}

  // unary asks one question that has one answer.
  async unary(method: string, message: Json, signal?: AbortSignal): Promise<Json> {
    const res = await this.retried(method, JSON.stringify(message), "application/json", signal);
    try {
      return await res.json();
    } catch (e) {
      throw broken(e, signal);
    }
  }

  // stream asks one question whose answer comes in pieces. Leaving the loop ends the call at the cluster too.
  async *stream(method: string, message: Json, signal?: AbortSignal): AsyncGenerator<Json, void> {
    const body = new TextEncoder().encode(JSON.stringify(message));
    const frame = new Uint8Array(5 + body.length);
    new DataView(frame.buffer).setUint32(1, body.length);
    frame.set(body, 5);
    const res = await this.retried(method, frame, "application/connect+json", signal);
    const reader = res.body!.getReader();
    const frames = new Frames();
    try {
      for (;;) {
        let next;
        while ((next = frames.next())) {
          const got: Json = next.body.length ? JSON.parse(new TextDecoder().decode(next.body)) : {};
          if (next.flags & end) {
            if (got.error) throw told(got.error, res);
            return;
          }
          yield got;
        }
        let more;
        try {
          more = await reader.read();
        } catch (e) {
          throw broken(e, signal);
        }
        if (more.done) throw new Disconnected("the stream ended early");
        frames.add(more.value);
      }
    } finally {
      await reader.cancel().catch(() => {}); // it may have ended already
    }
  }

  // retried tries again what was refused for now (429, 503), and what found nobody, where that is told (in Node; a browser does not say why it
  // failed): never what may have been answered.
  private async retried(method: string, body: string | Uint8Array<ArrayBuffer>, kind: string, signal?: AbortSignal): Promise<Response> {
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.once(method, body, kind, signal);
      } catch (e) {
        if (!(e instanceof SkeinError) || (e.status !== 429 && e.status !== 503 && !unreached(e)) || attempt >= this.retries) throw e;
        const wait = e.retryAfter ?? Math.min(maxWait, 0.25 * 2 ** attempt) * (0.5 + Math.random() / 2);
        if (wait > maxWait) throw e;
        await pause(wait, signal);
      }
    }
  }

  private async once(method: string, body: string | Uint8Array<ArrayBuffer>, kind: string, signal?: AbortSignal): Promise<Response> {
    let res: Response;
    try {
      res = await this.fetch(this.url + service + method, {
        method: "POST",
        body,
        signal: signal ?? null,
        redirect: "error", // the key goes nowhere else
        headers: { "Content-Type": kind, Authorization: "Bearer " + this.key, "Connect-Protocol-Version": "1" },
      });
    } catch (e) {
      throw broken(e, signal);
    }
    if (res.status === 200) return res;
    const text = await res.text().catch(() => "");
    let error: Json = { message: text.slice(0, 500) || res.statusText };
    try {
      const got = JSON.parse(text);
      if (got && typeof got === "object") error = got;
    } catch {
      // not ours: a proxy's
    }
    throw told(error, res);
  }
}

const codes: { [status: number]: string } = { 400: "internal", 401: "unauthenticated", 403: "permission_denied", 404: "unimplemented", 429: "unavailable", 502: "unavailable", 503: "unavailable", 504: "unavailable" };

function told(error: Json, res: Response): SkeinError {
  const header = res.headers.get("Retry-After");
  const after = header === null ? NaN : Number(header);
  return new SkeinError(error.code ?? codes[res.status] ?? "unknown", error.message ?? "", res.status, res.headers.get("X-Request-Id") ?? "", after >= 0 && Number.isFinite(after) ? after : undefined);
}

// broken is the error of a connection; that of who gave up stays as it is.
function broken(e: unknown, signal?: AbortSignal): unknown {
  if (signal?.aborted) return e;
  const cause = e instanceof Error && e.cause instanceof Error ? `: ${e.cause.message}` : "";
  return new Disconnected(`${e instanceof Error ? e.message : e}${cause}`, e);
}

// unreached says that nothing was sent.
function unreached(e: SkeinError): boolean {
  const failed = e.cause instanceof Error ? e.cause.cause : undefined;
  return failed instanceof Error && "code" in failed && failed.code === "ECONNREFUSED";
}

function pause(seconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal!.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, seconds * 1000);
    if (signal?.aborted) return stop();
    signal?.addEventListener("abort", stop, { once: true });
  });
}

// Frames joins the parts of a stream into messages: a byte of flags, four of length (big-endian), and the message.
class Frames {
  private parts: Uint8Array[] = [];
  private size = 0;

  add(part: Uint8Array): void {
    this.parts.push(part);
    this.size += part.length;
  }

  next(): { flags: number; body: Uint8Array } | undefined {
    if (this.size < 5) return undefined;
    const head = this.peek(5);
    const length = new DataView(head.buffer, head.byteOffset).getUint32(1);
    if (length > maxMessage) throw new Disconnected(`a message of ${length} bytes is over the limit of ${maxMessage}`);
    if (head[0]! & compressed) throw new Disconnected("a message is compressed, which was not asked for");
    if (this.size < 5 + length) return undefined;
    const all = this.peek(this.size);
    this.parts = [all.subarray(5 + length)];
    this.size -= 5 + length;
    return { flags: head[0]!, body: all.subarray(5, 5 + length) };
  }

  // peek gives the first bytes as one piece; it joins only where they are in several.
  private peek(size: number): Uint8Array {
    if (this.parts[0]!.length < size) {
      const all = new Uint8Array(this.size);
      let at = 0;
      for (const p of this.parts) {
        all.set(p, at);
        at += p.length;
      }
      this.parts = [all];
    }
    return this.parts[0]!;
  }
}
