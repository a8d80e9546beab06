// Skein's own client, sdk/typescript, in a page of a browser, whose origin the gateway lets call (cors_origins), and in one of another origin.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { KEY, URL_, load, run, version } from "./checks.mjs";

const built = new URL("../../build/conformance/typescript/", import.meta.url);
const { default: chromium } = await load("@sparticuz/chromium");
const program = await chromium.executablePath();

// The names of the pages' origins lead to the server below. The fleet lets the first one call.
const [ours, other] = ["page.example", "other.example"];

// inPage runs in the page, by what it is given as text. It gives what each check failed with.
async function inPage(url, key, allowed) {
  const { Client, Disconnected, SkeinError } = await import("/index.js");
  const client = new Client({ url, key });
  const refused = async (f) => {
    try {
      await f();
    } catch (e) {
      return e;
    }
    throw new Error("it is not refused");
  };
  const text = async (pieces) => {
    let out = "";
    for await (const p of pieces) out += p.text;
    return out.trim();
  };
  const same = (got, want) => {
    if (got !== want) throw new Error(`got ${got}, want ${want}`);
  };
  const checks = allowed ? {
    models: async () => same((await client.models()).some((m) => m.name === "calc"), true),
    "chat, streamed": async () => same(await text(client.chat("calc", [{ role: "user", content: "sum 17 25" }])), "42"),
    embed: async () => same((await client.embed("embed", ["disk is full"])).vectors[0].length, 32),
    errors: async () => {
      const e = await refused(() => new Client({ url, key: "sk-wrong" }).models());
      same(e instanceof SkeinError && e.code, "unauthenticated");
      same(e.requestId.length > 0, true); // a header that the page may read
    },
    abort: async () => {
      for (let i = 0; i < 8; i++) {
        for await (const _ of client.chat("tools", [{ role: "user", content: "loop" }])) break;
      }
      same((await text(client.chat("tools", [{ role: "user", content: "hello" }]))).length > 0, true);
    },
    "OpenAI's API": async () => {
      const res = await fetch(url + "/v1/chat/completions", { method: "POST", headers: { Authorization: "Bearer " + key, "Content-Type": "application/json" },
        body: JSON.stringify({ model: "calc", messages: [{ role: "user", content: "sum 17 25" }] }) });
      same((await res.json()).choices[0].message.content.trim(), "42");
      same(res.headers.get("x-request-id") !== null, true);
    },
  } : {
    "another origin is kept out": async () => same((await refused(() => client.models())) instanceof Disconnected, true),
  };
  const told = {};
  for (const [name, f] of Object.entries(checks)) {
    try {
      await f();
      told[name] = "";
    } catch (e) {
      told[name] = `${e}`;
    }
  }
  await fetch("/told", { method: "POST", body: JSON.stringify(told) });
}

// visit opens the page at an origin, and gives what it tells.
async function visit(host) {
  let tell;
  const told = new Promise((resolve) => (tell = resolve));
  const server = createServer((req, res) => {
    if (req.method === "POST") {
      let body = "";
      req.on("data", (part) => (body += part)).on("end", () => (res.end(), tell(JSON.parse(body))));
    } else if (/^\/\w+\.js$/.test(req.url)) {
      res.setHeader("Content-Type", "text/javascript");
      res.end(readFileSync(new URL("." + req.url, built)));
    } else {
      res.setHeader("Content-Type", "text/html");
      res.end(`<script type="module">(${inPage})(${JSON.stringify(URL_)}, ${JSON.stringify(KEY)}, ${host === ours})</script>`);
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const profile = mkdtempSync(join(tmpdir(), "page"));
  const browser = spawn(program, [...chromium.args.filter((a) => a !== "--disable-web-security"), "--no-proxy-server", `--user-data-dir=${profile}`, `--host-resolver-rules=MAP ${host}:80 127.0.0.1:${server.address().port}`,
    "--remote-debugging-port=0", `http://${host}/`], { stdio: "ignore" });
  const gone = once(browser, "exit").then(() => assert.fail("the browser ended"));
  const late = new Promise((_, reject) => setTimeout(() => reject(new Error("the page tells nothing")), 60_000).unref());
  try {
    return await Promise.race([told, gone, late]);
  } finally {
    browser.kill("SIGKILL");
    await gone.catch(() => {});
    server.close();
    server.closeAllConnections();
    rmSync(profile, { recursive: true, force: true });
  }
}

const told = {};
for (const host of [ours, other]) {
  try {
    Object.assign(told, await visit(host));
  } catch (e) {
    told[`the page at ${host}`] = `${e}`;
  }
}
await run("skein (TypeScript SDK) in Chromium", version("@sparticuz/chromium"), Object.fromEntries(Object.entries(told).map(([name, why]) => [name, async () => assert.equal(why, "")])));
