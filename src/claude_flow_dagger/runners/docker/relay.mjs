// A unix socket in a volume, its connections carried over standard input and output to the machine that started this.
// `node -e RELAY PATH`. Frames both ways: connection (4 bytes), kind (1), length (4), contents. No dependencies.
import net from "node:net";
import fs from "node:fs";
const KIND = { open: 0, data: 1, end: 2, close: 3 };
const CHUNK = 1 << 16;
const place = process.argv.at(-1);
const sockets = new Map();
let next = 1;
const say = (id, kind, data = Buffer.alloc(0)) => {
  const head = Buffer.alloc(9);
  head.writeUInt32BE(id, 0);
  head[4] = kind;
  head.writeUInt32BE(data.length, 5);
  return process.stdout.write(data.length ? Buffer.concat([head, data]) : head);
};
const server = net.createServer({ allowHalfOpen: true }, (socket) => {
  const id = next++;
  sockets.set(id, socket);
  say(id, KIND.open);
  socket.on("data", (data) => {
    let room = true;
    for (let at = 0; at < data.length; at += CHUNK) room = say(id, KIND.data, data.subarray(at, at + CHUNK));
    if (room) return;
    // Who carries this is slow: the sandbox waits, and nothing piles up here.
    socket.pause();
    process.stdout.once("drain", () => socket.resume());
  });
  socket.on("end", () => say(id, KIND.end));
  socket.on("error", () => {});
  socket.on("close", () => sockets.delete(id) && say(id, KIND.close));
});
let pending = Buffer.alloc(0);
process.stdin.on("data", (data) => {
  pending = Buffer.concat([pending, data]);
  while (pending.length >= 9) {
    const [id, kind, length] = [pending.readUInt32BE(0), pending[4], pending.readUInt32BE(5)];
    if (pending.length < 9 + length) break;
    const contents = pending.subarray(9, 9 + length);
    pending = pending.subarray(9 + length);
    const socket = sockets.get(id);
    if (!socket) continue; // it has left meanwhile
    if (kind === KIND.end) socket.end();
    else if (kind === KIND.close) socket.destroy();
    else if (!socket.write(contents)) {
      process.stdin.pause();
      const go = () => process.stdin.resume();
      socket.once("drain", go).once("close", go);
    }
  }
});
// Whoever started this is gone: so is its gateway, and a sandbox that holds its lease on the socket sees it.
process.stdin.on("end", () => process.exit(0)).on("error", () => process.exit(0));
process.stdout.on("error", () => process.exit(0));
fs.rmSync(place, { force: true });
server.listen(place, () => say(0, KIND.open));
