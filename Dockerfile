# A stream worker. `docker build -t streamflow .`, then `docker run streamflow --help`.
FROM python:3.11-slim AS build
WORKDIR /src
COPY . .
RUN pip wheel --no-cache-dir --wheel-dir /wheels .

FROM python:3.11-slim
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links /wheels streamflow \
    && useradd --uid 10001 --create-home streamflow \
    && install -d -o streamflow /work
USER streamflow
WORKDIR /work
ENV PYTHONUNBUFFERED=1
# A worker that is asked to stop commits what it holds first.
STOPSIGNAL SIGTERM
ENTRYPOINT ["streamflow"]
CMD ["--help"]
