// Loaded before npm and node-gyp: ends their whole process group once the process that started them is gone, so that
// a killed install (kill -9) leaves nothing running that still writes into its temporary directory.
const parent = process.ppid;
setInterval(() => {
  if (process.ppid !== parent) process.kill(-process.pid, 'SIGKILL');
}, 250).unref();
