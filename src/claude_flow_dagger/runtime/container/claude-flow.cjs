#!/opt/claude-flow-dagger/node/bin/node
// `claude-flow` in an image: the pinned one, whose entry script differs by version. Works without a shell.
const path = require('node:path');
const tree = '/opt/claude-flow-dagger/claude-flow/node_modules/claude-flow';
const { bin } = require(path.join(tree, 'package.json'));
const entry = path.join(tree, typeof bin === 'string' ? bin : bin['claude-flow']);
process.argv[1] = entry;
import(entry);
