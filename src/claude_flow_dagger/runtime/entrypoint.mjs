// The first process of every sandbox: `node entrypoint.mjs CONTROL/plan.json`. Node >= 20, no dependencies, no shell.
//
// Makes the plan's directories and files, forwards a loopback port to the gateway's unix socket, runs the steps one
// after the other, each as a process group of its own, and reports frames on standard output (runners/frames.py).
// Exit status: that of the required step that failed, else 0; 128+N after signal N; 75 when the gateway is gone
// (`lease`); 127 when a step cannot be started; 70 when the plan cannot be carried out; 141 when nobody reads.
import { spawn } from "node:child_process";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";

const MAX_TEXT = 256 * 1024; // characters of a line in one frame
const MAX_FRAME = 1 << 20; // bytes; MAX_FRAME of runners/frames.py
const DRAIN_MS = 300; // how long a dead step's output may stay silent before it is given up
const LAST_WORDS_MS = 1000; // how long the end waits for a reader that stalls
const LEASE_MS = 1000;
const INITS = new Set(["bwrap", "tini", "docker-init", "catatonit"]); // a sandbox's PID 1 when it isn't this script
const EXIT = { unusable: 70, leaseLost: 75, notStarted: 127, unread: 141 };

/** The largest cut up to `at` that doesn't part the two halves of a character. */
const cutAt = (text, at) => (/[\ud800-\udbff]/.test(text[at - 1]) ? Math.max(at - 1, 0) || at + 1 : at);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Frames out, with backpressure; a reader that is gone ends everything. */
class Output {
  constructor(onClosed) {
    this.stream = process.stdout;
    this.waiting = null;
    this.stream.on("error", onClosed);
  }
  async frame(object) {
    if (this.stream.write(JSON.stringify(object) + "\n")) return;
    // One listener for both outputs of a step.
    this.waiting ??= new Promise((resolve) => this.stream.once("drain", resolve)).then(() => (this.waiting = null));
    await this.waiting;
  }
  async line(step, fd, text, part = false) {
    const frame = { frame: "line", step, fd, text, ...(part && { part }) };
    // Control characters grow sixfold in JSON, so a short text can still be a long frame.
    if (text.length > 1 && (text.length > MAX_TEXT || Buffer.byteLength(JSON.stringify(frame)) >= MAX_FRAME)) {
      const cut = cutAt(text, Math.min(MAX_TEXT, text.length >> 1));
      await this.line(step, fd, text.slice(0, cut), true);
      return this.line(step, fd, text.slice(cut), part);
    }
    return this.frame(frame);
  }
  last(object) {
    return new Promise((resolve) => this.stream.write(JSON.stringify(object) + "\n", resolve));
  }
}

/** Whether every process that can be seen belongs to this sandbox. Not so for a run without one, or a shared PID 1. */
function ownsNamespace() {
  if (process.pid === 1) return true;
  try {
    return process.ppid === 1 && INITS.has(fs.readFileSync("/proc/1/comm", "utf8").trim());
  } catch {
    return false; // no /proc here
  }
}

/** Living processes that must not outlive this one. */
function leftovers() {
  const parents = new Map();
  let names = [];
  try {
    names = fs.readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  } catch {
    return []; // no /proc here: process groups have to do
  }
  for (const name of names) {
    try {
      const stat = fs.readFileSync(`/proc/${name}/stat`, "utf8");
      const [state, parent] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      parents.set(Number(name), { parent: Number(parent), dead: state === "Z" || state === "X" });
    } catch {
      // ended meanwhile
    }
  }
  const all = ownsNamespace();
  const mine = (pid) => {
    for (let at = pid; at > 1; at = parents.get(at)?.parent ?? 0) if (at === process.pid) return true;
    return all;
  };
  return [...parents].filter(([pid, { dead }]) => pid > 1 && pid !== process.pid && !dead && mine(pid)).map(([pid]) => pid);
}

function signal(target, name) {
  try {
    process.kill(target, name);
  } catch (error) {
    if (error.code !== "ESRCH" && error.code !== "EPERM") throw error; // gone already, or no longer ours
  }
}

async function killLeftovers() {
  for (let round = 0; round < 200; round += 1) {
    const left = leftovers();
    if (left.length === 0) return;
    for (const pid of left) signal(pid, "SIGKILL");
    await sleep(5);
  }
}

/** A loopback port whose connections go to the unix socket; returns the port. */
function forward(socketPath, port) {
  const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    const gateway = net.connect({ path: socketPath, allowHalfOpen: true });
    for (const [from, to] of [[client, gateway], [gateway, client]]) {
      from.pipe(to);
      from.on("error", () => to.destroy());
      from.on("close", () => to.destroy());
    }
  });
  return new Promise((resolve, reject) => {
    server.on("error", reject);
    server.listen(port, "127.0.0.1", () => resolve(server.address().port));
  });
}

function watchLease(socketPath, onLost) {
  let failures = 0;
  setInterval(() => {
    const probe = net.connect({ path: socketPath });
    probe.on("connect", () => {
      failures = 0;
      probe.destroy();
    });
    probe.on("error", (error) => {
      // A full backlog is a busy gateway, not a dead one.
      if (error.code !== "EAGAIN" && ++failures >= 2) onLost();
    });
  }, LEASE_MS).unref();
}

/** Written beside and renamed: a link that already lies there is replaced, not followed. */
function write(file, content, mode) {
  const beside = path.join(path.dirname(file), `.${path.basename(file)}.${process.pid}`);
  fs.rmSync(beside, { force: true });
  fs.writeFileSync(beside, content, { mode, flag: "wx" });
  fs.chmodSync(beside, mode);
  fs.renameSync(beside, file);
}

/** A counter of this container's control group, in the place of either version; 0 where there is none to be read. */
function counted(name, ...files) {
  for (const file of files) {
    try {
      return Number(new RegExp(`^${name} (\\d+)$`, "m").exec(fs.readFileSync(`/sys/fs/cgroup/${file}`, "utf8"))?.[1] ?? 0);
    } catch {
      continue; // the other version, or a sandbox without control groups
    }
  }
  return 0;
}

class Entrypoint {
  constructor(planPath) {
    this.control = path.dirname(path.resolve(planPath));
    this.planPath = planPath;
    this.group = null; // of the running step
    this.ending = null; // the exit status, once something from outside decided it
    this.out = new Output(() => this.abort(EXIT.unread));
    for (const name of ["SIGTERM", "SIGINT", "SIGHUP"]) process.on(name, () => this.stop(name));
  }

  /** Asked to end: gently first, for good after the plan's grace, at once when asked twice. */
  stop(name) {
    const again = this.ending !== null;
    this.ending ??= 128 + os.constants.signals[name];
    if (this.group === null) return;
    signal(-this.group, again ? "SIGKILL" : name);
    const group = this.group;
    const grace = (this.plan.grace_s ?? 2) * 1000;
    setTimeout(() => this.group === group && signal(-group, "SIGKILL"), grace).unref();
    // A reader that stalls must not keep a sandbox alive.
    setTimeout(() => this.finish(this.ending), grace + LAST_WORDS_MS).unref();
  }

  abort(code) {
    this.ending = code;
    return this.finish(code);
  }

  async finish(code) {
    if (this.finishing) return;
    this.finishing = true;
    // Before the group: what left it is found as a descendant only while its parent lives.
    await killLeftovers();
    if (this.group !== null) signal(-this.group, "SIGKILL");
    try {
      write(path.join(this.control, "exit.json"), JSON.stringify({ code }), 0o600);
    } catch (error) {
      process.stderr.write(`entrypoint: exit.json: ${error.message}\n`); // the status still goes out as a frame
    }
    if (code !== EXIT.unread) {
      const refused = counted("max", "pids.events", "pids/pids.events");
      const starved = counted("oom_kill", "memory.events", "memory/memory.oom_control");
      const frame = { frame: "exit", code, ...(refused > 0 && { refused }), ...(starved > 0 && { starved }) };
      await Promise.race([this.out.last(frame), sleep(LAST_WORDS_MS)]);
    }
    process.exit(code);
  }

  async prepare() {
    this.plan = JSON.parse(fs.readFileSync(this.planPath, "utf8"));
    if (this.plan.version !== 1) throw new Error(`plan version ${this.plan.version} is not known here`);
    for (const directory of this.plan.directories ?? []) fs.mkdirSync(directory, { recursive: true, mode: 0o700 });
    let port = null;
    if (this.plan.gateway_socket != null) {
      port = await forward(this.plan.gateway_socket, this.plan.gateway_port ?? 0);
      if (this.plan.lease) watchLease(this.plan.gateway_socket, () => this.abort(EXIT.leaseLost));
    }
    this.fill = (text) => (port === null ? text : text.replaceAll("{gateway_port}", String(port)));
    for (const file of this.plan.files ?? []) write(file.path, this.fill(file.content), file.mode ?? 0o600);
  }

  async relay(step, fd, stream, settle) {
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    let pending = "";
    const take = async (text) => {
      const lines = (pending + text).split("\n");
      pending = lines.pop();
      for (const line of lines) await this.out.line(step, fd, line);
      if (pending.length <= MAX_TEXT) return;
      const cut = cutAt(pending, pending.length - 2); // something is left, so that the last part isn't marked as one
      await this.out.line(step, fd, pending.slice(0, cut), true);
      pending = pending.slice(cut);
    };
    try {
      for await (const chunk of stream) {
        settle(+1);
        await take(decoder.decode(chunk, { stream: true }));
        settle(-1);
      }
    } catch (error) {
      if (error.code !== "ERR_STREAM_PREMATURE_CLOSE") throw error; // given up below
    }
    await take(decoder.decode());
    if (pending !== "") await this.out.line(step, fd, pending);
  }

  async run(step) {
    await this.out.frame({ frame: "start", step: step.name });
    if (this.ending !== null) return this.ending; // a signal came while nobody read
    const env = Object.fromEntries(Object.entries({ ...this.plan.env, ...step.env }).map(([k, v]) => [k, this.fill(v)]));
    const [command, ...args] = step.argv;
    let child, code;
    try {
      child = spawn(command, args, { cwd: this.plan.cwd, env, detached: true, stdio: ["ignore", "pipe", "pipe"] });
      await new Promise((resolve, reject) => child.once("spawn", resolve).once("error", reject));
      this.group = child.pid;
      if (this.ending !== null) signal(-this.group, "SIGKILL");
    } catch (error) {
      const why = fs.existsSync(this.plan.cwd) ? error.message : `no directory ${this.plan.cwd}`;
      await this.out.line(step.name, 2, `${command} could not be started: ${why}`);
      await this.out.frame({ frame: "end", step: step.name, code: EXIT.notStarted });
      return EXIT.notStarted;
    }
    let timer = null;
    let ended = false;
    let busy = 0;
    const settle = (change) => {
      busy += change;
      clearTimeout(timer);
      // Something that left the group may hold a pipe for ever. A slow reader of ours is no reason to give up, though.
      if (ended && busy === 0) timer = setTimeout(() => [child.stdout, child.stderr].forEach((s) => s.destroy()), DRAIN_MS);
    };
    child.once("exit", (status, name) => {
      code = status ?? 128 + os.constants.signals[name];
      signal(-this.group, "SIGKILL");
      this.group = null;
      ended = true;
      settle(0);
    });
    const exited = new Promise((resolve) => child.once("exit", resolve));
    await Promise.all([this.relay(step.name, 1, child.stdout, settle), this.relay(step.name, 2, child.stderr, settle), exited]);
    clearTimeout(timer);
    await this.out.frame({ frame: "end", step: step.name, code });
    return code;
  }

  async main() {
    try {
      await this.prepare();
    } catch (error) {
      await this.out.line("entrypoint", 2, `the plan cannot be carried out: ${error.message}`);
      return this.finish(this.ending ?? EXIT.unusable);
    }
    let code = 0;
    for (const step of this.plan.steps) {
      if (this.ending !== null) break;
      const status = await this.run(step);
      if (status !== 0 && (step.required ?? true)) {
        code = status;
        break;
      }
    }
    await this.finish(this.ending ?? code);
  }
}

await new Entrypoint(process.argv[2]).main();
