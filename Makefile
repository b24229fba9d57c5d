# What one does here, a verb each; bare `make` lists them. Needs git, make and python3 with pip and venv: the rest (uv,
# the Python packages, where necessary a Python, an etcd, a PostgreSQL and a Redis) is fetched at the first use, without
# root.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.ONESHELL:

# Without compiled bytecode each new process parses its imports again, which takes seconds for flytekit's.
unexport PYTHONDONTWRITEBYTECODE
# An environment that happens to be active must not be what uv synchronises.
unexport VIRTUAL_ENV

PYTHON3 ?= python3
UV_VERSION := 0.13.9
UV := .cache/boot/bin/uv
# flytekit has no release for Python 3.13 yet, we need 3.11; uv looks for one, and fetches it, where the distribution has
# neither. The distribution's first: it is built with a profile of what programs do, what pyenv builds by default is not,
# and is up to a fifth slower.
PYTHON ?= $(firstword $(wildcard /usr/bin/python3.12 /usr/bin/python3.11) >=3.11,<3.13)
SYNC := sync --locked --compile-bytecode --python '$(PYTHON)'
# More for the command: make run ARGS="--port 30081", make test ARGS="-k election".
ARGS ?=

# How many runs `make simulate` plays, or which one.
SEEDS ?= 2000
SEED ?=

# make run NATIVE=1 (and demo, bench): the tree that `make native` compiles in place of the checkout.
NATIVE ?=
ifneq ($(filter-out 0,$(NATIVE)),)
demo run bench: native
demo run bench: export PYTHONPATH := $(CURDIR)/build/native
endif

# What tasks run in; without our code beside it.
demo run test: export AIRSCREW_EXECUTOR_TASK_PYTHON ?= $(CURDIR)/.venv-tasks/bin/python

.PHONY: help
help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: .venv/.synced .venv-tasks/.synced ## start the whole system, run the sample workflow on it with pyflyte, show what came out, stop
	@.venv/bin/airscrew demo $(ARGS)

.PHONY: run
run: .venv/.synced .venv-tasks/.synced ## start the whole system and serve until Ctrl-C (ARGS="--port 30080 …")
	@.venv/bin/airscrew start $(ARGS)

.PHONY: test
test: .venv/.synced .venv-tasks/.synced ## all tests, with real etcd, PostgreSQL, Redis and pyflyte (ARGS="-k …")
	servers=$$(.venv/bin/python deploy/dev/find_servers.py)
	PATH="$$servers:$$PATH" .venv/bin/$(if $(ARGS),pytest $(ARGS),python deploy/dev/run_tests.py)

.PHONY: fast
fast: .venv/.synced ## the tests that need no other process
	.venv/bin/pytest tests/unit tests/property tests/architecture $(ARGS)

.PHONY: bench
bench: .venv/.synced .venv-tasks/.synced ## how fast the whole system is, minutes of it (ONLY=w1,w3,pool,queue,bulk,map,flat,wait,start,traced ARGS="--modes engine,reuse,fork --database postgres")
	@servers=$$(.venv/bin/python deploy/dev/find_servers.py)
	PATH="$$servers:$$PATH" .venv/bin/python -P -m tests.bench $(if $(ONLY),--only $(ONLY)) $(ARGS)

.PHONY: native
native: .venv/.synced ## compile what a leader spends its time in, to build/native (then: make run NATIVE=1, make bench NATIVE=1)
	@PYTHONPATH= .venv/bin/python -m deploy.native.build

.PHONY: scale
scale: .venv/.synced ## executions larger than most, minutes of them: how long, how much memory (ARGS="mapped --share 0.1")
	.venv/bin/python -m tests.bench.scale $(ARGS)

.PHONY: takeover
takeover: .venv/.synced ## how long a new leader of 10,000 live executions takes to its first commit, and until all are warm
	@.venv/bin/python -m tests.bench.takeover $(ARGS)

.PHONY: succession
succession: .venv/.synced ## how long after the end of a leader (stopped, killed, frozen) the next one commits, with real processes
	@.venv/bin/python -m tests.bench.succession $(ARGS)

.PHONY: collect
collect: .venv/.synced ## how long the garbage collector takes for 10,000 finished executions, and what that costs who commits meanwhile
	@.venv/bin/python -m tests.bench.garbage $(ARGS)

.PHONY: simulate
simulate: .venv/.synced ## all services on virtual time with faults, on all cores (SEEDS=200000; SEED=n plays that one and shows it)
	@.venv/bin/python -m tests.simulation $(if $(SEED),--seed $(SEED),--seeds $(SEEDS)) $(ARGS)

.PHONY: chaos
chaos: .venv/.synced ## the system as real processes that are killed, stopped and cut off from one another (FAULTS=100 SEED=n)
	@servers=$$(.venv/bin/python deploy/dev/find_servers.py)
	PATH="$$servers:$$PATH" .venv/bin/python -m tests.chaos --faults $(or $(FAULTS),100) $(if $(SEED),--seed $(SEED)) $(ARGS)

.PHONY: kubernetes
kubernetes: .venv/.synced ## the tests of pods on a real kube-apiserver too, a minute (KUBE_APISERVER=PATH; default: what `make cluster` builds)
	AIRSCREW_TEST_KUBE_APISERVER=$(or $(KUBE_APISERVER),$(CURDIR)/.cache/cluster/bin/kube-apiserver) \
		.venv/bin/pytest tests/contract/test_kubernetes*.py tests/integration/test_executor_pods*.py $(ARGS)

.PHONY: e2e-cluster
e2e-cluster: .venv/.synced .venv-tasks/.synced ## deploy everything on such a Kubernetes and disturb it, minutes of it (ARGS="-k scaled")
	.venv/bin/pytest tests/cluster $(ARGS)

.PHONY: lint
lint: .venv/.synced ## format, lint, strict types
	.venv/bin/ruff format --check
	.venv/bin/ruff check
	.venv/bin/mypy

.PHONY: check
check: lint fast ## what to run before a commit; among its tests the import contracts, fresh protos and docs

.PHONY: format
format: .venv/.synced ## format the tree and repair what the linter can
	.venv/bin/ruff check --fix-only --quiet
	.venv/bin/ruff format

.PHONY: protos
protos: .venv/.synced ## generate protos/*_pb2*.py anew
	.venv/bin/python deploy/dev/generate_protos.py

.PHONY: docs
docs: .venv/.synced ## write anew docs/requests.md, docs/settings.md, the tables of docs/metrics.md, and the dashboard
	.venv/bin/python deploy/dev/generate_docs.py
	.venv/bin/python deploy/dev/generate_dashboards.py

.PHONY: images
images: ## build all images with buildah, without a docker engine (BASE=FOLDER: a root file system to build on; BASE=again: the last one)
	deploy/docker/build.sh $(BASE)

.PHONY: cluster
cluster: .venv/.synced ## a Kubernetes of one node on this machine, for checks (as root; ARGS=stop, ARGS=images, ARGS="load IMAGE…")
	@.venv/bin/python -m deploy.dev.cluster $(ARGS)

.PHONY: clean
clean: ## remove everything that was fetched or built here (~/.cache/airscrew stays)
	rm -rf .venv .venv-tasks .cache .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist
	find services libs protos tests deploy examples -name __pycache__ -prune -exec rm -rf {} +

# The environments. A stamp inside each says which state of lock and project it has.

.cache/boot/uv-$(UV_VERSION):
	rm -rf .cache/boot
	$(PYTHON3) -m venv .cache/boot
	.cache/boot/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	touch $@

# Ours, with the tools of development.
.venv/.synced: pyproject.toml uv.lock .cache/boot/uv-$(UV_VERSION)
	UV_PROJECT_ENVIRONMENT=.venv $(UV) $(SYNC) --all-extras
	touch $@

# What users' tasks run in: flytekit without our code, so that no task can import `services` or `libs` of ours.
.venv-tasks/.synced: pyproject.toml uv.lock .cache/boot/uv-$(UV_VERSION)
	UV_PROJECT_ENVIRONMENT=.venv-tasks $(UV) $(SYNC) --only-group tasks --no-install-project
	touch $@
