// Builds dist/. With --check it builds in memory, compares with dist/ and with the budget.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { minify } from "terser";

const here = dirname(fileURLToPath(import.meta.url));
const dist = join(here, "dist");
const { version } = JSON.parse(readFileSync(join(here, "package.json"), "utf8"));

/** Bytes after gzip -9 that each group of files may have. */
const BUDGET = [
  ["loader, gate and signals", ["consentry.js"], 6 * 1024],
  ["banner and preference centre", ["consentry-ui.js", "consentry-ui.css"], 10 * 1024],
];

const SCRIPTS = [
  ["consentry.js", "src/loader.ts", "iife"],
  ["consentry.mjs", "src/module.ts", "esm"],
  ["consentry-guard.js", "src/guard.ts", "iife"],
  ["consentry-ui.js", "src/ui-entry.ts", "iife"],
  ["consentry-more.js", "src/more.ts", "iife"],
];

async function bundle(entry, format) {
  const made = await build({
    entryPoints: [join(here, entry)],
    bundle: true,
    write: false,
    minify: true,
    format,
    target: "es2022",
    charset: "utf8",
    legalComments: "none",
    logLevel: "warning",
    mangleProps: /^_/,
    define: { VERSION: JSON.stringify(version) },
  });
  // It takes another 4 % off what esbuild leaves.
  const { code } = await minify(made.outputFiles[0].text, { ecma: 2020, module: format === "esm", compress: { passes: 3 } });
  return Buffer.from(`${code}\n`);
}

/** Every style sheet of the controls, in the order of their names, as one. */
async function styles() {
  const folder = join(here, "src/ui");
  const names = readdirSync(folder).filter((name) => name.endsWith(".css")).sort();
  const made = await build({
    stdin: { contents: names.map((name) => `@import "./${name}";`).join("\n"), resolveDir: folder, loader: "css" },
    bundle: true,
    write: false,
    minify: true,
    target: "es2020",
    charset: "utf8",
    legalComments: "none",
    logLevel: "warning",
  });
  return Buffer.from(made.outputFiles[0].contents);
}

function languages() {
  const folder = join(here, "lang");
  const names = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith(".json")).sort() : [];
  return names.map((name) => {
    const texts = JSON.parse(readFileSync(join(folder, name), "utf8"));
    return [`lang/${name}`, Buffer.from(`${JSON.stringify(texts)}\n`)];
  });
}

const zipped = (bytes) => gzipSync(bytes, { level: 9 }).length;

function manifest(files) {
  const described = Object.fromEntries(
    [...files].map(([name, bytes]) => [
      name,
      { integrity: `sha384-${createHash("sha384").update(bytes).digest("base64")}`, bytes: bytes.length },
    ]),
  );
  return Buffer.from(`${JSON.stringify({ version, files: described }, null, 2)}\n`);
}

async function everything() {
  const files = new Map();
  for (const [name, entry, format] of SCRIPTS) files.set(name, await bundle(entry, format));
  files.set("consentry-ui.css", await styles());
  for (const [name, bytes] of languages()) files.set(name, bytes);
  files.set("manifest.json", manifest(files));
  return files;
}

function write(files) {
  rmSync(dist, { recursive: true, force: true });
  for (const [name, bytes] of files) {
    mkdirSync(dirname(join(dist, name)), { recursive: true });
    writeFileSync(join(dist, name), bytes);
  }
}

/** What is wrong with dist/: files that differ from what the sources give. */
function stale(files) {
  const there = existsSync(dist)
    ? readdirSync(dist, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath ?? entry.path, entry.name).slice(dist.length + 1))
    : [];
  const differ = [...files].filter(([name, bytes]) => !there.includes(name) || !readFileSync(join(dist, name)).equals(bytes));
  return [...differ.map(([name]) => name), ...there.filter((name) => !files.has(name))].sort();
}

/** Prints each group's size; whether all keep to the budget. */
function sizes(files) {
  let good = true;
  for (const [what, names, most] of BUDGET) {
    const size = names.reduce((sum, name) => sum + zipped(files.get(name)), 0);
    console.log(`${what}: ${size} of ${most} bytes gzipped${size > most ? ", too many" : ""}`);
    good &&= size <= most;
  }
  console.log(`guard: ${zipped(files.get("consentry-guard.js"))} bytes gzipped`);
  return good;
}

const files = await everything();
const found = process.argv.includes("--check") ? stale(files) : void write(files) ?? [];
if (found.length) console.error(`sdk/js/dist is not what the sources give, run make sdk: ${found.join(", ")}`);
if (!sizes(files) || found.length) process.exitCode = 1;
