// Whether a container of ours can work: claude-flow is whole enough to start, its directories can be written, and the
// port of its server, where CLAUDE_FLOW_DAGGER_HEALTH_PORT names one, answers. Starts no process: it may run often.
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';

const tree = '/opt/claude-flow-dagger/claude-flow';
const fail = (why) => {
  process.stderr.write(`unhealthy: ${why}\n`);
  process.exit(1);
};
try {
  const home = path.join(tree, 'node_modules', 'claude-flow');
  const { version, bin } = JSON.parse(fs.readFileSync(path.join(home, 'package.json'), 'utf8'));
  fs.accessSync(path.join(home, typeof bin === 'string' ? bin : bin['claude-flow']), fs.constants.R_OK);
  fs.accessSync(path.join(tree, 'manifest.json'), fs.constants.R_OK);
  for (const directory of new Set([os.homedir(), os.tmpdir(), process.cwd()])) fs.accessSync(directory, fs.constants.W_OK);
  process.stdout.write(`claude-flow ${version}\n`);
} catch (error) {
  fail(error.message);
}
const port = Number(process.env.CLAUDE_FLOW_DAGGER_HEALTH_PORT ?? 0);
if (port) {
  const probe = net.connect({ port, host: '127.0.0.1', timeout: 3000 });
  probe.on('connect', () => process.exit(0));
  probe.on('timeout', () => fail(`port ${port} does not answer`));
  probe.on('error', (error) => fail(`port ${port}: ${error.message}`));
}
