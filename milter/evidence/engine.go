package evidence

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/backscatterd/backscatterd/dsn"
	"github.com/backscatterd/backscatterd/milter/batv"
	"github.com/backscatterd/backscatterd/milter/ledger"
	"github.com/backscatterd/backscatterd/milter/token"
)

// Ledger is what is asked of a ledger. An error means that nothing is known.
type Ledger interface {
	Sent(ctx context.Context, messageID, sender string) (ledger.Hit, error)
	Wrote(ctx context.Context, sender, recipient string) (ledger.Hit, error)
	Coverage() ledger.Coverage
}

// Uses counts how often a proof was shown, or an address got a bounce; the count
// includes this time.
type Uses interface {
	Use(ctx context.Context, what string) (int, error)
}

// Blocklist tells whether a host is known to send backscatter. It must return
// when the context ends.
type Blocklist interface {
	Listed(ctx context.Context, addr netip.Addr) (bool, error)
}

// Options are what we know of ourselves. All but the durations may be empty:
// what is not known is not looked at.
type Options struct {
	// Domains whose mail leaves through our hosts; each stands for itself alone.
	Domains []string
	// NotCovered are those among them whose mail also leaves elsewhere.
	NotCovered []string
	// Hosts are the names that our mail servers write into Received fields.
	// One that begins with a dot stands for all hosts below it.
	Hosts []string
	// Networks are ours: what comes from them is exempt.
	Networks []netip.Prefix
	// NeverSends are addresses, or "@domain" for all of a domain, that send no
	// mail.
	NeverSends []string

	Token *token.Signer
	BATV  *batv.Scheme
	// KeysError says why the keys could not be read, if they could not: then no
	// verdict is suspect, for a signature may have been missed.
	KeysError error

	Ledger Ledger
	Uses   Uses
	// LedgerTime is how long all look-ups of Ledger and Uses about one message may
	// take together; what is not known by then is a failed look-up. 0: as long
	// as they take.
	LedgerTime time.Duration

	Blocklist        Blocklist
	BlocklistTimeout time.Duration // default 2 s

	// WarmUp is how long the ledger must have run before its silence counts:
	// the longest life of a message in a queue, and a week. Default 12 days.
	WarmUp time.Duration
	// Lately is how old mail to the failed recipient may be. Default 14 days.
	Lately time.Duration
	// MaxUses is how many bounces about one message are plausible. Default 100.
	MaxUses int
	// MaxBounces is how many bounces to one address in a day are plausible.
	// Default 200.
	MaxBounces int

	Limits dsn.Limits
}

// Engine judges messages. It may be used concurrently.
type Engine struct {
	opts                Options
	domains, notCovered map[string]bool
	hosts, hostSuffixes []string
	neverSends          map[string]bool
}

// New makes an engine.
func New(opts Options) (*Engine, error) {
	if opts.WarmUp < 0 || opts.Lately < 0 || opts.BlocklistTimeout < 0 || opts.LedgerTime < 0 || opts.MaxUses < 0 || opts.MaxBounces < 0 {
		return nil, errors.New("evidence: a duration or a limit is negative")
	}
	opts.WarmUp = cmp.Or(opts.WarmUp, 12*24*time.Hour)
	opts.Lately = cmp.Or(opts.Lately, 14*24*time.Hour)
	opts.BlocklistTimeout = cmp.Or(opts.BlocklistTimeout, 2*time.Second)
	opts.MaxUses = cmp.Or(opts.MaxUses, 100)
	opts.MaxBounces = cmp.Or(opts.MaxBounces, 200)
	e := &Engine{opts: opts, domains: set(opts.Domains), notCovered: set(opts.NotCovered), neverSends: set(opts.NeverSends)}
	for _, h := range opts.Hosts {
		switch h = hostOf(h); {
		case strings.HasPrefix(h, ".") && len(h) > 1:
			e.hostSuffixes = append(e.hostSuffixes, h)
		case h != "" && h != ".":
			e.hosts = append(e.hosts, h)
		default:
			return nil, errors.New("evidence: a host of ours has no name")
		}
	}
	return e, nil
}

func set(names []string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[strings.TrimSuffix(strings.ToLower(n), ".")] = true
	}
	return m
}

// Judgement is what was found about a message.
type Judgement struct {
	Kind     dsn.Kind
	Verdict  Verdict
	Reasons  []Name
	Findings []Finding // one for each piece of evidence; none for ordinary mail
	Report   dsn.Report
}

// Status is what X-Backscatter-Status says of it.
func (j *Judgement) Status() Status { return Status{j.Verdict, j.Kind, j.Reasons} }

// Judge reads a message and weighs it. The error is that of the body's reader;
// the judgement is good all the same, of what was read.
func (e *Engine) Judge(ctx context.Context, m Message) (Judgement, error) {
	report, err := dsn.ReadBody(m.header(), m.Body, e.opts.Limits)
	if err != nil {
		report.Cut = true
		err = fmt.Errorf("evidence: %w", err)
	}
	c := Case{Report: report, Envelope: m.Envelope, Now: m.Now}
	if from := fieldValues(m.Header, "From"); len(from) > 0 {
		c.From = from[0]
	}
	return e.Weigh(ctx, c), err
}

// Weigh looks at all the evidence about a message that has been read.
func (e *Engine) Weigh(ctx context.Context, c Case) Judgement {
	j := Judgement{Kind: c.Report.Kind, Report: c.Report}
	if j.Kind == dsn.None {
		return j
	}
	w := &weighing{Engine: e, Case: c, sheet: sheet{make([]Finding, 0, usualFindings), c.Terse}, ledgerCtx: ctx}
	if e.opts.LedgerTime > 0 {
		var cancel context.CancelFunc
		w.ledgerCtx, cancel = context.WithTimeout(ctx, e.opts.LedgerTime)
		defer cancel()
	}
	if e.opts.Ledger != nil {
		w.cover = e.opts.Ledger.Coverage()
	}
	w.prepare()
	w.proofs()
	w.supports()
	w.brakes()
	w.contras()
	w.blocklist(ctx)
	j.Findings = w.findings
	j.Verdict = decide(j.Kind, j.Findings)
	j.Reasons = reasons(j.Verdict, j.Findings)
	return j
}

// What is looked up of one message at most: addresses of ours, failed
// recipients, Message-IDs and tokens. Real bounces stay far below.
const (
	maxUsers  = 10
	maxFailed = 50
	maxIDs    = 5

	usualFindings = 26 // a look at each piece of evidence, and one more
)

// weighing is the state of weighing one message.
type weighing struct {
	*Engine
	Case
	sheet
	ledgerCtx context.Context // of look-ups in the ledger, all together
	// cover is from before the first look-up: what it says is recorded, each of
	// them can find.
	cover ledger.Coverage

	users   []string // the envelope recipients, plain: who would have sent the mail
	failed  []string // the recipients reported on
	ids     []string // what the Message-ID is or was
	senders []string // who may have been the envelope sender, for signatures
	hops    []hop    // of the returned message, oldest first
	more    bool     // there was more than is looked up

	date  time.Time // of the returned message
	dated bool      // it has one that makes sense
}

func (w *weighing) prepare() {
	for _, r := range w.Envelope.Recipients {
		w.users = w.note(w.users, plain(r), maxUsers)
	}
	for _, r := range w.Report.Recipients {
		w.failed = w.note(w.failed, plain(r.Final), maxFailed)
		w.failed = w.note(w.failed, plain(r.Original), maxFailed)
	}
	// Gateways that give a message a new Message-ID keep the one it had.
	for _, name := range []string{"Message-ID", "X-Microsoft-Original-Message-ID", "X-Google-Original-Message-ID"} {
		for _, v := range w.Report.Returned.Headers(name) {
			w.ids = w.note(w.ids, bareAddress(v), maxIDs)
		}
	}
	w.ids = w.note(w.ids, w.Report.MessageID, maxIDs)
	w.senders = slices.Clone(w.users)
	for _, name := range []string{"Return-Path", "Sender", "From"} {
		for _, v := range w.Report.Returned.Headers(name) {
			for _, a := range addresses(v) {
				w.senders = w.note(w.senders, plain(a), 2*maxUsers)
			}
		}
	}
	w.hops = hops(w.Report.Returned.Headers("Received"))
	d, err := parseDate(w.Report.Returned.Header("Date"))
	if err == nil && !d.After(w.Now.Add(dateSkew)) {
		w.date, w.dated = d, true
	}
}

// note adds what is new, up to a limit.
func (w *weighing) note(list []string, s string, limit int) []string {
	switch {
	case s == "" || slices.Contains(list, s):
		return list
	case len(list) >= limit:
		w.more = true
		return list
	}
	return append(list, s)
}

// isHost reports whether a name is that of a host of ours.
func (e *Engine) isHost(name string) bool {
	return slices.Contains(e.hosts, name) || slices.ContainsFunc(e.hostSuffixes, func(s string) bool { return strings.HasSuffix(name, s) })
}

func (e *Engine) isOurs(a netip.Addr) bool {
	return a.IsValid() && slices.ContainsFunc(e.opts.Networks, func(p netip.Prefix) bool { return p.Contains(a.Unmap()) })
}

// isPublic: private and loopback addresses are everybody's, so one of them in a
// returned header says nothing.
func isPublic(a netip.Addr) bool { return a.IsGlobalUnicast() && !a.IsPrivate() }

func (e *Engine) neverSending(user string) bool {
	return e.neverSends[user] || e.neverSends["@"+domainOf(user)]
}
