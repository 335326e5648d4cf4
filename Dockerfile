# The base of both stages: any image with Python 3.11 or newer and its venv module.
ARG BASE=docker.io/library/python:3.13-slim-bookworm

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
# pip works from an environment of its own, which stays behind.
RUN python3 -m venv tools && python3 -m venv --without-pip /opt/enphase-ev-exporter
COPY requirements.txt ./
RUN tools/bin/pip --python /opt/enphase-ev-exporter/bin/python3 install \
      --require-hashes --only-binary :all: -r requirements.txt
# The build backend by its hash too: pip's build isolation would take the newest one unseen.
COPY requirements-dev.txt ./
RUN sed -n '/^setuptools==/,/[^\\]$/p' requirements-dev.txt > backend.txt \
 && tools/bin/pip install --require-hashes --only-binary :all: -r backend.txt
COPY . ./
RUN tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir wheels . \
 && tools/bin/pip --python /opt/enphase-ev-exporter/bin/python3 install --no-deps --no-index wheels/*.whl

FROM ${BASE}
ENV PATH=/opt/enphase-ev-exporter/bin:$PATH
COPY --from=build /opt/enphase-ev-exporter /opt/enphase-ev-exporter
# Nothing can be compiled later, for the root is read-only; the official Python images come without compiled files
# of the standard library. Importing every module once compiles what they need, and no more.
RUN install -d -m 0700 -o 65532 -g 65532 /data \
 && python3 -c 'import exporter, importlib, pkgutil; \
      names = [one.name for one in pkgutil.walk_packages(exporter.__path__, "exporter.")]; \
      [importlib.import_module(name) for name in names]'
# TMPDIR: the demo keeps its state in a temporary folder, and /data may be the only place that can be written.
ENV PYTHONDONTWRITEBYTECODE=1 ENPHASE_EV_STATE_PATH=/data TMPDIR=/data
VOLUME /data
EXPOSE 10055
USER 65532:65532
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=1m --retries=3 CMD ["enphase-ev-exporter", "healthcheck"]
ENTRYPOINT ["enphase-ev-exporter"]
CMD []
# Last, because they change with every build.
ARG BASE
ARG VERSION
ARG REVISION
ARG CREATED
ENV EXPORTER_REVISION=${REVISION}
LABEL org.opencontainers.image.title="enphase-ev-exporter" \
      org.opencontainers.image.description="Prometheus exporter for Enphase IQ EV chargers" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${BASE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
