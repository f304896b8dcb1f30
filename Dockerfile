# syntax=docker/dockerfile:1
# The command in an image of its own, for the CPU:
#   docker build -t polymath .
#   docker run --rm -v "$PWD:/work" polymath demo
# This file was never built: no machine that it was written on has Docker.
FROM rust:1.91-bookworm AS build
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/source/target \
    cargo build --profile dist --locked && cp target/dist/polymath /usr/local/bin/polymath

FROM debian:bookworm-slim
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
COPY --from=build /usr/local/bin/polymath /usr/local/bin/polymath
COPY configs /usr/local/share/polymath/configs
WORKDIR /work
ENTRYPOINT ["polymath"]
CMD ["--help"]
