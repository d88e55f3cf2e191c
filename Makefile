# What people and CI run. Nothing here needs root but `make deps` and the tests
# against a real sendmail.

GO ?= go
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2

.PHONY: all build demo deps test check fuzz bench bench-milter accuracy capture clean

all: build

build: ## the program, in this folder
	$(GO) build -trimpath -o backscatterd ./cmd/backscatterd

demo: build ## list, rules, dry run, sweep, restore on bundled real queue files
	./backscatterd demo

deps: ## what the tests need, on Debian
	./test/deps.sh

test: deps ## everything: unit, property, fuzz seeds, testscript, real sendmail
	$(GO) test -timeout 20m ./...

check: ## format, vet, staticcheck
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'run gofmt -w on these'; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

fuzz: ## every fuzz target for FUZZTIME (10 s) each
	./test/fuzz.sh $(FUZZTIME)

bench: build ## sweep against grep and qtool.pl, in one run
	$(GO) run ./test/bench

bench-milter: ## the milter against a C filter that does nothing; needs gcc and libmilter-dev
	$(GO) run ./test/bench/milter

accuracy: ## how well bounces are recognised and judged, as tables by family
	$(GO) test ./dsn -run '^TestAccuracy' -v
	$(GO) test ./milter/evidence -run '^TestAccuracy' -v

capture: deps ## make the captured test messages anew, with real mail systems (root, Debian)
	$(GO) run ./test/capture -out dsn/testdata/captured
	mkdir -p dsn/testdata/captured/sendmail
	$(GO) test ./test/capture -v -count 1 -run '^TestSendmailsNotices$$' -write $(CURDIR)/dsn/testdata/captured

clean:
	rm -f backscatterd
