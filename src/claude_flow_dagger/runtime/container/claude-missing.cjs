#!/opt/claude-flow-dagger/node/bin/node
// Stands where Claude Code would: its licence does not let us hand it out.
process.stderr.write(
  'claude: this image has no Claude Code, which may not be published with it. Build one that has it:\n' +
    '  claude-flow-dagger image build --target agent\n' +
    'or docker build --target agent --build-arg CLAUDE_CODE=VERSION\n',
);
process.exit(127);
