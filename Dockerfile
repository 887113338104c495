# One image for every process of Greenroom: the command says which.
FROM python:3.13-slim AS build
RUN pip install --no-cache-dir uv==0.13.9
WORKDIR /app
COPY requirements/run.lock requirements/run.lock
RUN uv venv /venv && uv pip sync --python /venv/bin/python requirements/run.lock
COPY . .
RUN uv pip install --python /venv/bin/python --no-deps .

FROM python:3.13-slim
RUN useradd --create-home greenroom
COPY --from=build /venv /venv
USER greenroom
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1
ENTRYPOINT ["greenroom"]
