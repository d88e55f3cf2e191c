# What people and CI run. Nothing here needs root but `make deps` and the tests
# against a real sendmail.

GO ?= go
BIN = backscatterd
VERSION =
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2

.PHONY: all build demo deps test check fuzz bench profile bench-growth bench-milter bench-ledger accuracy capture deb browser pictures crash hostile soak powerloss clean

all: build

# The Redis client has some 600 commands on each of seven types. Inlined into one
# another they are 2 MB of the program, for what waits on a network.
build: ## the program, in this folder or as BIN
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w$(if $(VERSION), -X main.version=$(VERSION))' \
		-gcflags 'github.com/redis/...=-l' -o '$(BIN)' ./cmd/backscatterd

demo: build ## list, rules, dry run, sweep, restore on bundled real queue files
	./backscatterd demo

deps: ## what the tests need, on Debian
	./test/deps.sh

# Uncached: of a test that builds the program and runs it, go does not see that the
# program has changed.
test: deps ## everything: unit, property, fuzz seeds, testscript, real sendmail
	$(GO) test -count=1 -timeout 20m ./...

check: ## format, vet, staticcheck
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'run gofmt -w on these'; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

fuzz: ## every fuzz target for FUZZTIME (10 s) each
	./test/fuzz.sh $(FUZZTIME)

bench: ## the sweeper against a floor, grep and qtool.pl, in one run
	$(GO) run ./test/bench

bench-growth: ## the same over queues of 1,000 to 1,000,000 messages, drawn in docs/growth.svg (root; 10 GB of disk, half an hour)
	$(GO) run ./test/bench -growth docs/growth.svg -n 1000000 -rounds 3

profile: ## where a sweep's time and memory go, as cpu.prof and alloc.prof
	$(GO) test ./queuesweep -run '^$$' -bench '^BenchmarkSweep$$/^ring$$' -benchtime 5s -o sweep.test -cpuprofile cpu.prof -memprofile alloc.prof -memprofilerate 4096
	$(GO) tool pprof -top -nodecount 25 sweep.test cpu.prof
	$(GO) tool pprof -top -nodecount 25 -sample_index alloc_objects sweep.test alloc.prof

bench-milter: ## the milter against a C filter that does nothing; needs gcc and libmilter-dev
	$(GO) run ./test/bench/milter

bench-ledger: ## the ledger in a file and on a redis-server, in one run
	$(GO) run ./test/bench/ledger

accuracy: ## how well bounces are recognised and judged, as tables by family
	$(GO) test ./dsn -run '^TestAccuracy' -v
	$(GO) test ./milter/evidence -run '^TestAccuracy' -v

capture: deps ## make the captured test messages anew, with real mail systems (root, Debian)
	$(GO) run ./test/capture -out dsn/testdata/captured
	mkdir -p dsn/testdata/captured/sendmail
	$(GO) test ./test/capture -v -count 1 -run '^TestSendmailsNotices$$' -write $(CURDIR)/dsn/testdata/captured

hostile: deps ## queues made to do harm, in the long form: a million messages, files of 1 GB in earnest (root, 10 GB of memory)
	HOSTILE_MESSAGES=1000000 HOSTILE_LARGE=1 $(GO) test ./test/hostile -count 1 -timeout 6h -v

crash: deps ## kill the program at every system call, fail every call with every error; lose power on a device; also qtool.pl and postsuper (root; an hour)
	BACKSCATTERD_CRASH=full $(GO) test ./test/crash -count 1 -timeout 6h -v

deb: ## the Debian package, in dist/; needs dpkg-deb
	GO=$(GO) ./config/dist/deb.sh dist

browser: ## the status page in Chromium and w3m, with screenshots (root, Debian)
	apt-get install -y -qq --no-install-recommends chromium w3m fonts-dejavu-core
	$(GO) test -tags browser -count 1 -timeout 20m ./test/browser

pictures: ## the pictures in docs/, of the program itself; needs what make browser installs
	rm -rf pictures.new && mkdir pictures.new
	BACKSCATTERD_PICTURES=$(CURDIR)/pictures.new $(GO) test -tags browser -count 1 -timeout 20m -run '^TestPage$$' ./test/browser
	mv pictures.new/status-desk-light.png docs/status-desk.png
	mv pictures.new/status-phone-dark.png docs/status-phone.png
	rm -r pictures.new
	BACKSCATTERD_WRITE=1 $(GO) test -count 1 -run 'Picture' ./cmd/backscatterd ./test/docs

SEED ?= 1
MESSAGES ?= 10000
KILLS ?= 50
soak: deps ## MESSAGES through a real sendmail beside sweeps, with KILLS; SEED repeats it (root)
	SOAK_SEED=$(SEED) SOAK_MESSAGES=$(MESSAGES) SOAK_KILLS=$(KILLS) $(GO) test ./test/soak -run '^TestSoak$$' -count 1 -v -timeout 60m

powerloss: ## every state that a loss of power may leave, in all layouts
	BACKSCATTERD_POWERLOSS=long $(GO) test ./queuesweep/spool -run '^TestPowerLoss$$' -count 1 -v -timeout 60m

clean:
	rm -f backscatterd sweep.test cpu.prof alloc.prof
