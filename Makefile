# Everything runs in .venv, which each target makes when it is missing or older than pyproject.toml.
.DEFAULT_GOAL := help
.PHONY: help demo test test-all coverage wheel check docs bench fuzz schema
export UV_LINK_MODE = copy
export NO_MKDOCS_2_WARNING = 1

BIN := .venv/bin
READY := .venv/.installed
PARALLEL := --numprocesses=auto --dist=worksteal

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY) ## a paid, verified agent on a local network, and a receipt checked from the root certificate down
	@$(BIN)/python cookbook/demo.py $(if $(ONCHAIN),--onchain)

test: $(READY) ## the whole test suite, in one process per core
	@$(BIN)/pytest $(PARALLEL)

test-all: $(READY) ## the same, and what is sized in tests/sizes.py at its full size too
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --group ray
	@$(BIN)/pytest $(PARALLEL) -m "not live" --hypothesis-profile=full

coverage: $(READY) ## branches of protocol/ and verify/ that their tests reach; at least 98 %
	@$(BIN)/pytest $(PARALLEL) -q --cov --cov-report=term:skip-covered tests/protocol tests/verify tests/money tests/receipts tests/cli tests/client tests/adapters tests/report tests/onchain

wheel: $(READY) ## the wheel with each extra alone in a clean environment, its quick start and its size
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m tests.packaging

check: $(READY) ## format, lint, types, architecture, documents
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/pyright
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pyright --verifytypes og_integrations --ignoreexternal
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/mkdocs build --strict --quiet
	@$(BIN)/pytest tests/test_documents.py -q $(PARALLEL)

docs: $(READY) ## the documentation site on http://127.0.0.1:8001
	@$(BIN)/mkdocs serve --dev-addr 127.0.0.1:8001

bench: $(READY) ## what a verified, paid call costs, next to others
	@$(BIN)/python -m benchmarks

schema: $(READY) ## write docs/receipt.schema.json from the model
	@$(BIN)/python -c 'import json; from og_integrations.receipt import receipt_schema; print(json.dumps(receipt_schema(), indent=2, ensure_ascii=False))' > docs/receipt.schema.json

fuzz: $(READY) ## 100,000 damaged inputs for each reader; nothing but our own errors may come out
	@$(BIN)/python -m tests.fuzz

$(READY): pyproject.toml
	@for python in $(PYTHON) python3.11 python3; do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    exec $$python -m venv .venv; fi; \
	done; echo "og-integrations needs Python 3.11 or newer: install it, or say 'make PYTHON=/path/to/python3.11'." >&2; exit 1
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[all]' --group dev --group field --group docs
	@touch $@
