// A server of HTTP that fails as it is told: it injects faults under the client, and knows nothing of what is asked.
import { once } from "node:events";
import { createServer } from "node:net";

// faulty answers the n-th request by the n-th act, the last one again and again. asked holds the requests as they came, at when.
export async function faulty(...acts) {
  const s = { asked: [], at: [], open: new Set() };
  const server = createServer((conn) => {
    s.open.add(conn);
    conn.on("close", () => s.open.delete(conn)).on("error", () => {});
    let got = "";
    conn.on("data", (part) => {
      got += part.toString("latin1");
      const head = got.indexOf("\r\n\r\n");
      if (head < 0 || got.length - head - 4 < Number(/^content-length: *(\d+)/im.exec(got)?.[1] ?? 0)) return;
      s.asked.push(got);
      s.at.push(performance.now());
      got = "";
      acts[Math.min(s.asked.length, acts.length) - 1](conn);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  s.url = `http://127.0.0.1:${server.address().port}`;
  s.close = () => {
    for (const conn of s.open) conn.destroy();
    return new Promise((done) => server.close(done));
  };
  return s;
}

// answer answers with a status, a body, and headers. length is what it says the body's length is.
export const answer = (status, body = "", headers = {}, length = Buffer.byteLength(body)) => (conn) => {
  const lines = [`HTTP/1.1 ${status} Told`, `Content-Length: ${length}`, "Connection: close", ...Object.entries(headers).map(([k, v]) => `${k}: ${v}`)];
  conn.end(lines.join("\r\n") + "\r\n\r\n" + body);
};

// models answers ListModels.
export const models = (...names) => answer(200, JSON.stringify({ models: names.map((name) => ({ name })) }), { "Content-Type": "application/json" });

export const refusal = (code) => JSON.stringify({ code, message: "no" });

// pieces answers a stream, without its end if there is none; it stays open where stay is true.
export const pieces = (texts, { end, stay = false } = {}) => (conn) => {
  const frame = (flags, v) => {
    const body = Buffer.from(JSON.stringify(v));
    const head = Buffer.alloc(5);
    head.writeUInt8(flags);
    head.writeUInt32BE(body.length, 1);
    return Buffer.concat([head, body]);
  };
  conn.write("HTTP/1.1 200 OK\r\nContent-Type: application/connect+json\r\nConnection: close\r\n\r\n");
  for (const text of texts) conn.write(frame(0, { text }));
  if (end) conn.write(frame(2, end));
  if (!stay) conn.end();
};

// hangUp ends the connection once the request is read, reset by a reset; silent never answers.
export const hangUp = (conn) => conn.end();
export const reset = (conn) => conn.resetAndDestroy();
export const silent = () => {};
