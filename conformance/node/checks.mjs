// Runs checks and prints one line of JSON for each; the first line says which client it is.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

export const URL_ = process.env.SKEIN_URL;
export const KEY = process.env.SKEIN_KEY;
const require = createRequire(join(process.env.NODE_PATH, "..", "package.json"));

// load imports a package from where the clients were fetched to.
export const load = (name) => import(require.resolve(name));

// version of a package, from its package.json beside or above what it exports.
export function version(name) {
  for (let dir = dirname(require.resolve(name)); dir !== dirname(dir); dir = dirname(dir)) {
    try {
      const p = JSON.parse(readFileSync(join(dir, "package.json"), "utf8"));
      if (p.name === name) return p.version;
    } catch {
      // none here
    }
  }
  return "unknown";
}

// refused gives the error that f throws, and fails if it throws none of this kind.
export async function refused(kind, f) {
  try {
    await f();
  } catch (e) {
    if (e instanceof kind) return e;
    throw e;
  }
  assert.fail("not refused");
}

// run runs every check: a name and a function.
export async function run(client, version, checks) {
  console.log(JSON.stringify({ client, version }));
  for (const [name, f] of Object.entries(checks)) {
    try {
      await f();
      console.log(JSON.stringify({ check: name, ok: true }));
    } catch (e) {
      console.error(e);
      console.log(JSON.stringify({ check: name, ok: false, why: String(e?.message ?? e).slice(0, 500) }));
    }
  }
}
