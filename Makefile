.PHONY: help test check smoke
help: ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'
test: ## all tests
	python -m pytest
check: ## linters and types
	ruff check . && ruff format --check . && mypy && lint-imports
smoke: ## all stages on the built-in sample with a tiny network, in a temporary folder
	python -m kagglepipe experiment=quick paths.root=$$(mktemp -d)
