# Two images that share their lower layers:
#   predictor  serves one variant (`python -m serving.predictor`)
#   control    the tick, the command line, the components and the trainers (`penstock`)
# `make image` builds both. Needs BuildKit: what only the build needs is mounted and leaves nothing behind.

# Debian 12, for its Python 3.11. For a newer one, ask the registry for the digest of the tag's index:
#   docker buildx imagetools inspect debian:bookworm-slim
# Where no registry can be reached, scripts/base_image.sh makes a base from Debian's packages.
ARG BASE=docker.io/library/debian:bookworm-slim@sha256:88200866dfff7ea7f5cbcb6ec7c8a701889efe6fe859fe64d6990e4b07ea4171


FROM ${BASE} AS runtime
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ca-certificates python3 \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/* \
 && groupadd --gid 65532 penstock \
 && useradd --uid 65532 --gid 65532 --home-dir /tmp --no-create-home --shell /usr/sbin/nologin penstock
ENV HOME=/tmp \
    LANG=C.UTF-8 \
    PATH=/opt/penstock/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /app


FROM runtime AS tools
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv
RUN --mount=type=bind,source=requirements/image.txt,target=/mnt/image.txt \
    --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    python3 -m venv /opt/tools \
 && PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
    /opt/tools/bin/pip install --quiet --no-cache-dir --require-hashes --requirement /mnt/image.txt


FROM runtime AS code
COPY . /app
RUN rm -rf requirements scripts \
 && chmod -R u=rwX,go=rX . \
 && python3 -m compileall -q --invalidation-mode unchecked-hash .


FROM runtime AS serving
RUN --mount=type=bind,from=tools,source=/opt/tools/bin/uv,target=/mnt/uv \
    --mount=type=bind,source=scripts/image_install.sh,target=/mnt/install \
    --mount=type=bind,source=requirements/image.txt,target=/mnt/build.txt \
    --mount=type=bind,source=requirements/predictor.txt,target=/mnt/locked.txt \
    --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    --mount=type=cache,target=/mnt/cache \
    sh /mnt/install /mnt \
 && echo /app > "$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/penstock.pth"


FROM serving AS predictor
COPY --from=code /app/LICENSE ./
COPY --from=code /app/penstock penstock
COPY --from=code /app/serving serving
ARG VERSION=0
RUN --mount=type=bind,source=scripts/sbom.py,target=/mnt/sbom.py \
    python /mnt/sbom.py penstock-predictor "$VERSION" > sbom.cdx.json
USER 65532:65532
ENTRYPOINT ["python", "-m", "serving.predictor"]
ARG REVISION=unknown
LABEL org.opencontainers.image.title="penstock-predictor" \
      org.opencontainers.image.description="Serves one variant of a penstock pipeline" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"


FROM serving AS control
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends glpk-utils tzdata \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/*
RUN --mount=type=bind,from=tools,source=/opt/tools/bin/uv,target=/mnt/uv \
    --mount=type=bind,source=scripts/image_install.sh,target=/mnt/install \
    --mount=type=bind,source=requirements/image.txt,target=/mnt/build.txt \
    --mount=type=bind,source=requirements/lock.txt,target=/mnt/locked.txt \
    --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    --mount=type=cache,target=/mnt/cache \
    sh /mnt/install /mnt \
 && printf '#!/opt/penstock/bin/python\nfrom workflows.cli import main\n\nmain()\n' > /opt/penstock/bin/penstock \
 && chmod 755 /opt/penstock/bin/penstock
COPY --from=code /app ./
ARG VERSION=0
RUN --mount=type=bind,source=scripts/sbom.py,target=/mnt/sbom.py \
    python /mnt/sbom.py penstock "$VERSION" > sbom.cdx.json
USER 65532:65532
ENTRYPOINT ["penstock"]
ARG REVISION=unknown
LABEL org.opencontainers.image.title="penstock" \
      org.opencontainers.image.description="Keeps an ML inference pipeline at its best within its latency objective" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
