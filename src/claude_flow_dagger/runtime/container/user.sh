#!/bin/sh
# The user that everything runs as: 1001, named `agent` unless the image has a name for it. Needs no useradd.
set -eu
grep -q '^[^:]*:[^:]*:1001:' /etc/passwd || echo 'agent:x:1001:1001:agent:/home/agent:/bin/sh' >>/etc/passwd
grep -q '^[^:]*:[^:]*:1001:' /etc/group || echo 'agent:x:1001:' >>/etc/group
mkdir -p /home/agent /workspace /run/cfd
# A run's volumes take their owner and mode from these two, and would take what is in them as well.
find /workspace /run/cfd -mindepth 1 -delete
chown 1001:1001 /home/agent /workspace /run/cfd
chmod 0700 /run/cfd
# runc gives a file system in memory the mode of its place and, from Podman, no owner but root. Nobody else is in here.
chmod 1777 /home/agent
# Nobody in here needs another's rights.
find / -xdev -type f -perm /6000 -exec chmod a-s {} +
