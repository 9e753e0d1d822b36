# Firn's three binaries in one image: firn-uplink, firn-worker and firn. docker-compose.yml says how to run them.
#
#   docker build --tag firn .
#
# BUILDER needs cargo and a C compiler, BASE the same or a newer C library, bash and getent; both can be local images.
ARG BUILDER=rust:1.95-bookworm
ARG BASE=debian:bookworm-slim

FROM ${BUILDER} AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --package firn-uplink --package firn-worker --package firn-cli \
 && mkdir -p /out/bin /out/data \
 && cp target/release/firn-uplink target/release/firn-worker target/release/firn /out/bin/ \
 && cp deploy/docker/worker.sh /out/bin/firn-worker-start \
 && cp deploy/docker/health.sh /out/bin/firn-health

FROM ${BASE}
COPY --from=build /out/bin/ /usr/local/bin/
# The only place that is written to; a volume mounted here is given this owner.
COPY --from=build --chown=10001:10001 /out/data /data
USER 10001:10001
WORKDIR /data
# uplink and http, resp, boutique, winter
EXPOSE 4000 6379 4040 6060
# Each process answers /livez and /readyz on port 4000.
HEALTHCHECK --interval=2s --timeout=3s --start-period=30s --retries=5 CMD ["firn-health", "4000", "/readyz"]
STOPSIGNAL SIGTERM
CMD ["firn-worker-start"]
