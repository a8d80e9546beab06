# Skein: build, run and prove. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

export CGO_CFLAGS ?= -O2 -Wno-deprecated-declarations
ORT := $(if $(SKEIN_ORT_LIB),$(SKEIN_ORT_LIB),$(CURDIR)/build/ort/libonnxruntime.so.1)
VERSION := $(shell git describe --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -X github.com/skein-project/skein/internal/version.Version=$(VERSION)
GOLANGCI := v2.5.0

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
test: build ort ## every property, at most 10 minutes on 2 cores
	SKEIN_ORT_LIB=$(ORT) SKEIN_BIN=$(CURDIR)/bin go test ./...

.PHONY: generate
generate: ## make the Connect code from api/*.proto (needs npm)
	npm install --silent --no-audit --no-fund --prefix build/npm @bufbuild/buf@1.75.0
	PATH=$(CURDIR)/build/npm/node_modules/.bin:$$PATH buf lint
	PATH=$(CURDIR)/build/npm/node_modules/.bin:$$PATH buf generate

.PHONY: clean
clean: ## remove what was built
	rm -rf bin build
