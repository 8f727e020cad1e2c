# docker build -t mora . && docker run --rm -v "$PWD:/work" -w /work mora train config.yaml
FROM debian:bookworm-slim AS build
WORKDIR /mora
COPY . .
RUN tools/install_dependencies.sh build package
RUN cmake --preset release -DMORA_TESTS=OFF && cmake --build --preset release && cd build/release && cpack

FROM debian:bookworm-slim
COPY --from=build /mora/build/release/mora_*.deb /tmp/
RUN apt-get update && apt-get install -y --no-install-recommends /tmp/mora_*.deb && rm -rf /tmp/mora_*.deb /var/lib/apt/lists/*
ENTRYPOINT ["mora"]
