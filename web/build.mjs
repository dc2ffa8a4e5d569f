// Bundles the pages into the package: `node build.mjs`, or `--check` to compare with what is committed.
//
// Each script becomes one minified file, so that users need neither node nor the network. The same sources and
// the versions of the lock file give the same bytes on every machine. An entry without a source is left out.
import { existsSync } from "node:fs";
import { mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const source = join(here, "src");
const home = join(here, "..", "src", "understudy");
const assets = join(home, "studio", "assets");
const SCRIPTS = [
  ["main.js", join(assets, "studio.min.js"), "esm"],
  ["replay.js", join(home, "report", "templates", "replay.min.js"), "iife"], // report.html has no module scripts
];
const COPIED = /\.(html|css|svg)$/;

/** One bundle as bytes. Output is ASCII, so that it means the same in any page. */
async function bundled(entry, format) {
  const made = await build({
    entryPoints: [join(source, entry)],
    absWorkingDir: here,
    bundle: true,
    minify: true,
    format,
    target: "es2022",
    charset: "ascii",
    legalComments: "eof",
    write: false,
    logLevel: "warning",
  });
  return Buffer.from(made.outputFiles[0].contents);
}

/** The licences of what is bundled, as their authors wrote them. */
async function licences() {
  const about = JSON.parse(await readFile(join(here, "node_modules", "three", "package.json"), "utf8"));
  const text = await readFile(join(here, "node_modules", "three", "LICENSE"), "utf8");
  return Buffer.from(`studio.min.js and the 3-D replay of reports contain three.js ${about.version}:\n\n${text.trim()}\n`);
}

/** Path -> bytes of everything that is made from web/. */
async function outputs() {
  const made = new Map([[join(assets, "LICENSES.txt"), await licences()]]);
  for (const [entry, target, format] of SCRIPTS) {
    if (existsSync(join(source, entry))) made.set(target, await bundled(entry, format));
  }
  for (const name of (await readdir(source)).sort()) {
    if (COPIED.test(name)) made.set(join(assets, name), await readFile(join(source, name)));
  }
  return made;
}

const check = process.argv.includes("--check");
let different = 0;
for (const [path, bytes] of await outputs()) {
  const name = relative(join(here, ".."), path);
  const same = existsSync(path) && bytes.equals(await readFile(path));
  if (check) {
    if (!same) console.log(`${name} is not what web/ builds`);
    different += same ? 0 : 1;
  } else if (!same) {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, bytes);
    console.log(`${name}: ${bytes.length} bytes`);
  }
}
if (check && !different) console.log("the committed files are what web/ builds");
process.exitCode = different ? 1 : 0;
