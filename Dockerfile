# One image for every process of Greenroom: the command says which. SET=neural adds torch (about 5 GB), which the
# neural renderer and the avatar builder need.
FROM node:24-slim AS console
WORKDIR /app/web
COPY web/package.json web/package-lock.json web/.npmrc ./
RUN npm ci --include=dev --ignore-scripts --no-audit --no-fund
COPY schemas/openapi.json ../schemas/
COPY cli/assets ../cli/assets
COPY web .
RUN npm run build

FROM python:3.12-slim AS build
ARG SET=run
RUN pip install --no-cache-dir uv==0.13.9
WORKDIR /app
COPY requirements requirements
RUN uv venv /venv && uv pip sync --python /venv/bin/python requirements/$SET.lock \
    && { [ $SET != neural ] || uv pip install --python /venv/bin/python --no-deps --require-hashes -r requirements/landmarks.lock; }
COPY . .
COPY --from=console /app/api/dist api/dist
RUN uv pip install --python /venv/bin/python --no-deps .

FROM python:3.12-slim
RUN useradd --create-home greenroom && install -d -o greenroom /assets /state
COPY --from=build /venv /venv
USER greenroom
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1
ENTRYPOINT ["greenroom"]
