#!/bin/sh
# The packages of one stage, and the site's CA certificates: prepare.sh PACKAGE ...
# The certificates come as the build secret `ca`, which no layer and no history keeps; what is trusted is in the layer.
set -eu
if command -v apt-get >/dev/null 2>&1; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q
    apt-get install -q -y --no-install-recommends "$@"
    rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb /var/log/apt/* /var/log/dpkg.log
else
    apk add --no-cache "$@"
fi
if [ -s /run/secrets/ca ]; then
    mkdir -p /usr/local/share/ca-certificates
    cp /run/secrets/ca /usr/local/share/ca-certificates/site.crt
    chmod 0644 /usr/local/share/ca-certificates/site.crt
    update-ca-certificates
fi
