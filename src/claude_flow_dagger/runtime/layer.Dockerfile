# A user's own image with the runtime on top: ARG IMAGE is theirs, ARG RUNTIME one of ours (target `agent`).
#
#     docker build -f layer.Dockerfile --build-arg IMAGE=golang:1.25-bookworm --build-arg RUNTIME=claude-flow-dagger:agent-3.43.0 .
#
# Their image needs a shell, git, CA certificates and the C library of ours. SETUP is a shell command that runs as root,
# with network, before any run and without the gateway; its layer is kept until IMAGE or SETUP changes.
ARG IMAGE
ARG RUNTIME
FROM ${RUNTIME} AS runtime

FROM ${IMAGE}
ARG SETUP=
ARG CA_SHA256=
USER 0:0
RUN --mount=type=secret,id=ca set -eu; \
    : "${CA_SHA256}"; \
    if [ -s /run/secrets/ca ]; then \
        mkdir -p /usr/local/share/ca-certificates; \
        cp /run/secrets/ca /usr/local/share/ca-certificates/site.crt; \
        chmod 0644 /usr/local/share/ca-certificates/site.crt; \
        if command -v update-ca-certificates >/dev/null 2>&1; then \
            update-ca-certificates; \
        else \
            mkdir -p /etc/ssl/certs; \
            cat /run/secrets/ca >>/etc/ssl/certs/ca-certificates.crt; \
            chmod 0644 /etc/ssl/certs/ca-certificates.crt; \
        fi; \
    fi
RUN set -eu; \
    if [ -n "${SETUP}" ]; then \
        if [ -s /etc/ssl/certs/ca-certificates.crt ]; then \
            export SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt; \
            export PIP_CERT=/etc/ssl/certs/ca-certificates.crt; \
        fi; \
        HOME=/root sh -c "${SETUP}"; \
    fi
COPY --from=runtime /opt/claude-flow-dagger /opt/claude-flow-dagger
COPY user.sh /tmp/claude-flow-dagger-user.sh
RUN set -eu; \
    sh /tmp/claude-flow-dagger-user.sh; rm /tmp/claude-flow-dagger-user.sh; \
    env -i /opt/claude-flow-dagger/node/bin/node --version >/dev/null || { \
        echo "claude-flow-dagger: the runtime's Node does not run on this image (another C library, or no libstdc++)" >&2; exit 71; }; \
    command -v git >/dev/null || { echo "claude-flow-dagger: this image has no git, which agents need" >&2; exit 72; }
ARG LAYOUT=
ARG CLAUDE_FLOW_VERSION=
ARG CLAUDE_CODE=
ARG NODE_VERSION=
LABEL dev.claude-flow-dagger.layout="${LAYOUT}" \
      dev.claude-flow-dagger.claude-flow="${CLAUDE_FLOW_VERSION}" \
      dev.claude-flow-dagger.claude-code="${CLAUDE_CODE}" \
      dev.claude-flow-dagger.node="${NODE_VERSION}" \
      dev.claude-flow-dagger.layered="1"
USER 1001:1001
WORKDIR /workspace
STOPSIGNAL SIGTERM
HEALTHCHECK NONE
ENTRYPOINT []
