// Dumps the commands of an installed claude-flow as JSON; `scripts/make-catalogue` says how it is used.
// Line 3.x keeps its commands as objects: they are imported and read, and its own parser is asked what each short
// option and each flag really becomes. Line 2.x keeps most of its options in prose: names come from its registry,
// options from the texts and from the handlers' sources.
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { readFileSync } from "node:fs";

const [, , root, line] = process.argv;
const load = (...parts) => import(pathToFileURL(join(root, ...parts)).href);
const camel = (key) => key.replace(/-([a-z])/g, (_, letter) => letter.toUpperCase());
const kebab = (key) => key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
const sorted = (set) => [...set].sort();

// What the source of an action reads: upstream declares neither its positional arguments nor every option that it
// reads. -1 stands for any number of arguments, and for an action that hands its context on to a helper.
function reads(source) {
  const body = source.slice(source.indexOf("{"));
  const handsOn = /[(,]\s*(ctx|context)\s*[,)]/.test(body) || /=>\s*[\w.]+\((ctx|context)\)/.test(source);
  const flags = new Set();
  for (const [, name] of source.matchAll(/\bflags\??\.([A-Za-z]\w*)/g)) flags.add(name);
  for (const [, name] of source.matchAll(/\bflags\??\.?\[['"]([\w-]+)['"]\]/g)) flags.add(camel(name));
  const many = /\bargs\??\.(?!length)\w+|\.\.\.(ctx\.)?args\b|\bof (ctx\.)?args\b|\bargs\b(?!\s*[.?[=:])/.test(body);
  let positional = handsOn || many ? -1 : 0;
  for (const [, index] of source.matchAll(/\bargs\??\.?\[(\d+)\]/g))
    if (positional >= 0) positional = Math.max(positional, Number(index) + 1);
  return { flags, positional, asks: /\b(confirm|select|input|multiSelect|text)\(\{/.test(source) };
}

async function version3() {
  const base = ["v3", "@claude-flow", "cli", "dist", "src"];
  const { CommandParser } = await load(...base, "parser.js");
  const index = await load(...base, "commands", "index.js");
  const globals = new CommandParser({ allowUnknownFlags: true }).getGlobalOptions();
  const sync = new Set(index.commands.map((command) => command.name));

  const option = (opt, aliases, booleans) => {
    const entry = { name: opt.name, summary: opt.description, type: opt.type };
    if (opt.short) {
      if (aliases === undefined || aliases[opt.short] === opt.name) entry.short = opt.short;
      else entry.broken_short = `-${opt.short} is read as --${aliases[opt.short] ?? opt.short}`;
    }
    if (opt.default !== undefined) entry.default = opt.default;
    if (opt.choices) entry.choices = opt.choices;
    if (opt.required) entry.required = true;
    if (opt.validate) entry.validated = true;
    return entry;
  };

  const commands = {};
  for (const name of [...new Set([...sync, ...index.getLazyCommandNames()])].sort()) {
    const command = await index.getCommandAsync(name);
    if (!command) continue;
    const parser = new CommandParser({ allowUnknownFlags: true });
    for (const each of index.commands) parser.registerCommand(each);
    parser.registerCommand(command);
    const walk = (node, level1) => {
      const scope = level1 ?? command;
      const aliases = parser.buildScopedAliases(scope);
      const booleans = parser.getScopedBooleanFlags(scope);
      const source = node.action ? node.action.toString() : "";
      const read = reads(source);
      const declared = new Set((node.options ?? []).map((opt) => camel(opt.name)));
      const negative = new Set((node.options ?? []).filter((opt) => opt.name.startsWith("no-")).map((opt) => camel(opt.name.slice(3))));
      for (const opt of globals) declared.add(camel(opt.name));
      const entry = { summary: node.description };
      if (node.aliases?.length) entry.aliases = node.aliases;
      if (node.options?.length) entry.options = node.options.map((opt) => ({
        ...option(opt, aliases, booleans),
        ...(opt.name.startsWith("no-") && read.flags.has(camel(opt.name.slice(3))) && !read.flags.has(camel(opt.name)) ? { negates: true } : {}),
      }));
      const undeclared = sorted(read.flags).filter((flag) => !declared.has(flag) && !negative.has(flag));
      if (undeclared.length) entry.undeclared = undeclared.map(kebab);
      if (read.positional) entry.positional = read.positional;
      if (!node.action) entry.group = true;
      if (read.asks) entry.asks = true;
      if (node.examples?.length) entry.examples = node.examples.map((each) => each.command);
      const subs = node.subcommands ?? [];
      if (subs.length) entry.subcommands = Object.fromEntries(subs.map((sub) => [sub.name, walk(sub, level1 ?? sub)]).sort());
      return entry;
    };
    commands[name] = walk(command, undefined);
    // The aliases of a command that is loaded on demand never reach upstream's parser ("hive init": unknown command).
    if (!sync.has(name)) delete commands[name].aliases;
  }
  return { globals: globals.map((opt) => option(opt)), commands };
}

const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
const dump = line === "3.43" ? await version3() : await (await import("./make-catalogue-2.mjs")).version2(root);
process.stdout.write(JSON.stringify({ version, ...dump }), () => process.exit(0));
