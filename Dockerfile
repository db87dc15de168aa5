# One image for every Python service of docker-compose.yml: Airflow, its workers and the MLflow server.
FROM python:3.11-slim-bookworm

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

RUN useradd --create-home --uid 50000 ratchet \
    && install --directory --owner=ratchet /opt/ratchet /opt/ratchet/var
WORKDIR /opt/ratchet

# The packages first: they change more rarely than the code, and this layer is the large one.
COPY requirements.lock ./
RUN pip install --no-deps --require-hashes --requirement requirements.lock

COPY pyproject.toml README.md ./
COPY plugins plugins
COPY dags dags
COPY dbt dbt
COPY expectations expectations
COPY loops loops
RUN pip install --no-deps --editable .

USER ratchet
ENV RATCHET_ROOT=/opt/ratchet \
    RATCHET_HOME=/opt/ratchet/var \
    PYTHONPATH=/opt/ratchet/plugins:/opt/ratchet/dags
CMD ["ratchet", "--help"]
