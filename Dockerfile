# The program `tipline`, with RocksDB and object storage. It runs as a user of its own and writes to
# volumes only, so the root file system may be read-only:
#
#   docker build -t tipline:0.1.0 .
#   docker run --read-only --tmpfs /tmp -v data:/data tipline:0.1.0 --help
FROM rust:1.89-slim-trixie AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends clang g++ libclang-dev make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --locked --release --features full --bin tipline \
    && strip target/release/tipline

FROM debian:trixie-slim
# Certificates of the authorities that destinations and servers have theirs from.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && install --directory --owner 65532 --group 65532 --mode 0700 /data /keys
COPY --from=build /src/target/release/tipline /usr/bin/tipline
USER 65532:65532
WORKDIR /data
VOLUME /data
# It drains for 10 s at most.
STOPSIGNAL SIGTERM
ENTRYPOINT ["tipline"]
CMD ["--help"]
