package docs

// exception is a command that is not simply run, by its first words.
type exception struct {
	command string
	page    string // only there; "" is anywhere
	why     string
	until   string // of runsOn: what its output has once it is at work
	status  int    // of endsOtherwise
}

// notRun are the commands that no test can run, or that another one runs.
var notRun = []exception{
	{command: "make test", why: "it runs this test"},
	{command: "make check", why: "CI runs it"},
	{command: "make fuzz", why: "it takes long; CI runs the seeds"},
	{command: "make bench", why: "it takes long, and measures"},
	{command: "make accuracy", why: "it takes long; CI runs the tests behind it"},
	{command: "make crash", why: "it takes an hour; CI runs a short form"},
	{command: "make soak", why: "it takes long; CI runs a short form"},
	{command: "make deb", why: "the test of the package runs it"},
	{command: "apt install", why: "the test of the package installs it with dpkg"},
	{command: "go install", why: "it needs a network"},
	{command: "systemctl", why: "it needs systemd as the first process"},
	{command: "journalctl", why: "it needs systemd's journal"},
	{command: "service", why: "it needs the machine's own sendmail"},
	{command: "make -C /etc/mail", why: "it is the system's own makefile of sendmail"},
}

// runsOn are the commands that do not end by themselves.
var runsOn = []exception{
	{command: "backscatterd serve", why: "the daemon", until: "msg=serving"},
}

// endsOtherwise are the commands that end with another status than 0.
var endsOtherwise = []exception{
	{command: "backscatterd ledger status", page: "docs/operations.md", why: "no milter has run there yet", status: 1},
}

// stories are the pages that are one story: all their sections are run on one
// machine.
var stories = []string{"docs/moving.md", "docs/start.md"}

// texts are the blocks of text, by how they begin.
var texts = []struct{ page, begins, why string }{
	{"docs/design.md", "spool ──▶ qf", "a drawing"},
	{"docs/design.md", "session ──▶ dsn", "a drawing"},
	{"docs/fleet.md", "maxmemory-policy", "for a Redis server; the tests of the ledger run one with these rights"},
	{"docs/fleet.md", "ACL SETUSER", "for a Redis server; the tests of the ledger run one with these rights"},
}
