// Reads line 2.x: a registry of handlers with prose. Subcommands are the `case` labels of a handler's own first switch
// and the words that its usage text shows; options are what its module reads and what its texts name. Every option is
// the whole command's, and nothing says whether it takes a value unless a text shows `--name <value>`.
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const noise = new Set(["help", "h", "version", "v", "_", "plain", "_environment", "appliedDefaults"]);

function modules(source, base) {
  const found = [];
  for (const [, path] of source.matchAll(/import\(\s*['"](\.[^'"]+\.js)['"]/g)) found.push(resolve(base, path));
  return found.filter(existsSync);
}

function optionsIn(text) {
  const found = new Map();
  const add = (name, value) => {
    if (!noise.has(name) && /^[A-Za-z][\w-]*$/.test(name)) found.set(name, found.get(name) || value);
  };
  for (const [, name] of text.matchAll(/\bflags\??\.([A-Za-z][\w]*)/g)) add(name, "");
  for (const [, name] of text.matchAll(/\bflags\??\.?\[['"]([\w-]+)['"]\]/g)) add(name, "");
  for (const [, name] of text.matchAll(/\bgetFlag\w*\(\s*\w+,\s*['"]--([\w-]+)['"]/g)) add(name, "value");
  for (const [, name] of text.matchAll(/['"]--([a-z][\w-]*)['"]/g)) add(name, "");
  for (const [, name, value] of text.matchAll(/--([a-z][\w-]*)((?:[ =](?:<[^>\n]+>|"[^"\n]+"))?)/g)) add(name, value ? "value" : "");
  return found;
}

function subcommandsIn(source) {
  const found = new Set();
  const at = source.search(/switch\s*\(\s*(\w*[cC]md|\w*[sS]ubcommand|command|cmd|subCommand)\s*\)/);
  if (at < 0) return found;
  let depth = 0;
  let i = source.indexOf("{", at);
  const start = i;
  for (; i < source.length; i += 1) {
    if (source[i] === "{") depth += 1;
    else if (source[i] === "}" && (depth -= 1) === 0) break;
    else if (depth === 1) {
      const match = /^case\s+['"]([\w-]+)['"]\s*:/.exec(source.slice(i, i + 60));
      if (match && i > start) found.add(match[1]);
    }
  }
  return found;
}

/** The catalogue of a 2.x package at `root`, in the shape of `make-catalogue.mjs`. */
export async function version2(root) {
  const cli = join(root, "src", "cli");
  const file = join(cli, "command-registry.js");
  const registrySource = readFileSync(file, "utf8");
  const imports = new Map();
  for (const [, names, path] of registrySource.matchAll(/import\s+\{?([^}'"]+?)\}?\s+from\s+'(\.[^']+)'/g))
    for (const name of names.split(",")) imports.set(name.trim(), resolve(cli, path));
  const { commandRegistry } = await import(pathToFileURL(file).href);
  const { getCommandHelp } = await import(pathToFileURL(join(cli, "help-text.js")).href);
  const commands = {};
  for (const [name, command] of [...commandRegistry].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const handler = String(command.handler);
    const named = /^(?:async )?function (\w+)/.exec(handler)?.[1];
    const files = named && imports.has(named) ? [imports.get(named)] : modules(handler, cli);
    const sources = files.filter((path) => existsSync(path) && path !== file).map((path) => readFileSync(path, "utf8"));
    for (const [index, path] of files.entries())
      if (sources[index]) for (const inner of modules(sources[index], dirname(path))) if (inner.includes("simple-commands")) sources.push(readFileSync(inner, "utf8"));
    const prose = [command.usage, command.details ?? "", ...(command.examples ?? [])].join("\n") + "\n" + stripped(getCommandHelp(name));
    const options = optionsIn([handler, ...sources, prose].join("\n"));
    const shown = new Set([...prose.matchAll(/--([a-z][\w-]*)[ =](?:<|")/g)].map((match) => match[1]));
    const subs = subcommandsIn(handler);
    if (!subs.size) for (const source of sources) for (const sub of subcommandsIn(source)) subs.add(sub);
    for (const word of ["help", "--help", "-h"]) subs.delete(word);
    const entry = { summary: command.description.replace(/[^\x20-\x7e]+\s*/g, ""), positional: -1 };
    if (command.examples?.length) entry.examples = command.examples.map((text) => text.replace(/\s+#.*$/, ""));
    entry.options = [...options].sort().map(([option, value]) => ({
      name: option, summary: "", type: value || shown.has(option) ? "string" : "either",
    }));
    if (subs.size) entry.subcommands = Object.fromEntries([...subs].sort().map((sub) => [sub, { summary: "", positional: -1 }]));
    commands[name] = entry;
  }
  return { globals: [{ name: "help", summary: "Show help", type: "boolean" }], commands };
}

function stripped(text) {
  // eslint-disable-next-line no-control-regex
  return typeof text === "string" ? text.replace(/\u001b\[[0-9;]*m/g, "") : "";
}
