# Skein: build, run and prove. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

export CGO_CFLAGS ?= -O2 -Wno-deprecated-declarations
# go-nvml's symbols are bound when they are first called: a toolchain that links with -z now by default would kill skein-node at start.
export CGO_LDFLAGS ?= -O2 -g -Wl,-z,lazy
ORT := $(if $(SKEIN_ORT_LIB),$(SKEIN_ORT_LIB),$(CURDIR)/build/ort/libonnxruntime.so.1)
VERSION := $(shell git describe --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -X github.com/skein-project/skein/internal/version.Version=$(VERSION)
GOLANGCI := v2.5.0
S3SERVER := v1.8.0
REGISTRY := v3.0.0

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

.PHONY: build
build: ## compile the programs into bin/
	go build -ldflags '$(LDFLAGS)' -o bin/skein ./cmd/skein
	go build -ldflags '$(LDFLAGS)' -o bin/skein-coordinator ./cmd/coordinator
	go build -ldflags '$(LDFLAGS)' -o bin/skein-node ./cmd/node
	go build -ldflags '$(LDFLAGS)' -o bin/skein-gateway ./cmd/gateway

.PHONY: ort
ort: ## fetch the pinned ONNX Runtime library (pip or npm; SKEIN_ORT_LIB overrides)
	@scripts/fetch-ort.sh

.PHONY: run
run: build ort ## start a small fleet, serve examples/calc, ask it three questions, stay up until Ctrl-C
	SKEIN_ORT_LIB=$(ORT) bin/skein dev --ask

.PHONY: demo
demo: build ort ## the same, then stop: exit 0 if every answer was right
	SKEIN_ORT_LIB=$(ORT) bin/skein dev --ask --exit

.PHONY: test
test: build ort ## every property, at most 10 minutes on 2 cores (after make servers also against a real S3 server and OCI registry)
	SKEIN_ORT_LIB=$(ORT) SKEIN_BIN=$(CURDIR)/bin SKEIN_PROMTOOL=$(wildcard $(CURDIR)/build/prometheus/promtool) go test -timeout 25m ./...

.PHONY: test-full
test-full: build ort servers prometheus ## test, with longer properties, 20 kills, real servers, and what needs Python (SKEIN_PYTHON, default .venv/bin/python)
	SKEIN_ORT_LIB=$(ORT) SKEIN_BIN=$(CURDIR)/bin SKEIN_FULL=1 SKEIN_KILLS=20 SKEIN_CRASHES=1000 \
		SKEIN_PROMTOOL=$(CURDIR)/build/prometheus/promtool SKEIN_ALERTMANAGER=$(CURDIR)/build/prometheus/alertmanager \
		SKEIN_PYTHON=$${SKEIN_PYTHON:-$(wildcard $(CURDIR)/.venv/bin/python)} go test -timeout 50m ./...
	$(MAKE) fuzz

.PHONY: fuzz
fuzz: ort ## every parser of foreign bytes, 60 s each (FUZZTIME; FUZZ selects by a regular expression)
	SKEIN_ORT_LIB=$(ORT) scripts/fuzz.sh
	if command -v python3 && command -v npm; then $(MAKE) conformance; else echo "conformance: not run, no Python or npm"; fi

.PHONY: check
check: vet lint arch race ## what CI checks beside the tests

.PHONY: vet
vet: ## go vet and gofmt
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); exit 1; }
	go vet ./...

.PHONY: lint
lint: build/tools/golangci-lint-$(GOLANGCI) ## golangci-lint with the exceptions of .golangci.yml
	$< run --allow-parallel-runners $$(go list -f '{{.Dir}}' ./... | grep -v '^$(CURDIR)/build/')

build/tools/golangci-lint-$(GOLANGCI):
	GOBIN=$(CURDIR)/build/tools go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI)
	mv build/tools/golangci-lint $@

.PHONY: servers
servers: build/tools/versitygw-$(S3SERVER) build/tools/registry-$(REGISTRY) ## the S3 server and the OCI registry that tests run against

build/tools/versitygw-$(S3SERVER):
	GOBIN=$(CURDIR)/build/tools go install github.com/versity/versitygw/cmd/versitygw@$(S3SERVER)
	mv build/tools/versitygw $@

build/tools/registry-$(REGISTRY):
	GOBIN=$(CURDIR)/build/tools go install github.com/distribution/distribution/v3/cmd/registry@$(REGISTRY)
	mv build/tools/registry $@

.PHONY: prometheus
prometheus: ## fetch promtool and Alertmanager (apt, without root), for test-full
	@scripts/fetch-prometheus.sh

.PHONY: arch
arch: ## the layers of ARCHITECTURE.md; never from the cache, which does not see new imports
	go test -count=1 ./internal/arch

.PHONY: race
race: ## the packages with goroutines, under the race detector
	go test -race -short ./wire ./gossip ./coordinator/... ./node/... ./gateway/... ./admin ./client ./blob/disk ./raftstore ./gpu/... ./internal/live \
		./notify ./people ./telemetry ./audit/... ./internal/egress

.PHONY: conformance
conformance: build ort ## call a fleet with the clients that people have, and write docs/conformance.md (needs what fetches them: pip, npm)
	scripts/fetch-clients.sh
	SKEIN_ORT_LIB=$(ORT) go run ./conformance

.PHONY: bench
bench: build ort ## measure the core on this machine into docs/bench, at most 10 minutes (SKEIN_PYTHON adds transformers as a peer)
	SKEIN_ORT_LIB=$(ORT) go run ./bench/core --out docs/bench

.PHONY: bench-platform
bench-platform: ## measure what sharing a fleet costs on this machine into docs/bench, about 8 minutes (NOTE adds a line about the conditions)
	go run ./bench/platform --out docs/bench --note "$${NOTE:-}"

.PHONY: bench-formats
bench-formats: build ort ## measure conversion, protocols and the results store on this machine into docs/bench, about 5 minutes
	SKEIN_ORT_LIB=$(ORT) SKEIN_BIN=$(CURDIR)/bin go run ./bench/formats --out docs/bench --note "$${NOTE:-}"

.PHONY: generate
generate: ## make the Connect code from api/*.proto (needs npm)
	npm install --silent --no-audit --no-fund --prefix build/npm @bufbuild/buf@1.75.0
	PATH=$(CURDIR)/build/npm/node_modules/.bin:$$PATH buf lint
	PATH=$(CURDIR)/build/npm/node_modules/.bin:$$PATH buf generate

.PHONY: clean
clean: ## remove what was built
	rm -rf bin build
