package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"reflect"
	"runtime/debug"
	"strings"
	"time"

	"github.com/backscatterd/backscatterd/config"
	"github.com/backscatterd/backscatterd/milter"
	"github.com/backscatterd/backscatterd/milter/batv"
	"github.com/backscatterd/backscatterd/milter/evidence"
	"github.com/backscatterd/backscatterd/milter/evidence/dnslist"
	"github.com/backscatterd/backscatterd/milter/keyring"
	"github.com/backscatterd/backscatterd/milter/ledger"
	"github.com/backscatterd/backscatterd/milter/socket"
	"github.com/backscatterd/backscatterd/milter/token"
)

// filter is the milter with what it stands on.
type filter struct {
	*milter.Filter
	started   config.Milter // what holds until a restart
	ledger    keptLedger
	listeners []net.Listener
	log       *slog.Logger
}

// startFilter opens the ledger and the socket. The caller must run it.
func startFilter(ctx context.Context, m config.Milter, log *slog.Logger, observer milter.Observer) (_ *filter, err error) {
	f := &filter{started: m, log: log}
	if f.ledger, err = openLedger(m, log); err != nil {
		return nil, fmt.Errorf("milter: %w", err)
	}
	defer func() {
		if err != nil {
			f.ledger.Close()
		}
	}()
	policy, err := f.policy(m, log)
	if err != nil {
		return nil, err
	}
	f.Filter, err = milter.New(milter.Options{
		Ledger: f.ledger, Log: log, Observer: observer, TempFail: m.OnError == "tempfail",
		MaxConnections: m.MaxConnections, IdleTimeout: m.IdleTimeout.Std(), StopTimeout: m.StopTimeout.Std(),
	}, policy)
	if err != nil {
		return nil, err
	}
	address, err := m.Address()
	if err != nil {
		return nil, err
	}
	f.listeners, err = socket.Listen(ctx, []socket.Address{address}, socket.Options{Mode: m.Mode(), Owner: m.SocketOwner, Group: m.SocketGroup})
	if err != nil {
		return nil, fmt.Errorf("milter: %w", err)
	}
	return f, nil
}

// garbagePercent lets the heap of the daemon grow to some 20 MB before it is
// cleaned up: the filter keeps little, and each message leaves a little behind.
const garbagePercent = 400

// run serves until ctx ends. The ledger is closed last: messages in hand are
// still recorded.
func (f *filter) run(ctx context.Context) error {
	for _, ln := range f.listeners {
		f.log.Info("the milter listens", "address", f.started.Listen, "bound", ln.Addr().String())
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbagePercent)
	}
	noting, end := context.WithCancel(ctx)
	noted := make(chan struct{})
	go func() {
		defer close(noted)
		if l, ok := f.ledger.(*ledger.Shared); ok {
			noteStatus(noting, l, f.started, f.log)
		}
	}()
	err := f.Serve(ctx, f.listeners)
	end()
	<-noted
	c := f.Counts()
	f.log.Info("the milter has ended", "messages", c.Messages, "outgoing", c.Outgoing,
		"suspect", c.Suspect, "legit", c.Legit, "unknown", c.Unknown, "panics", c.Panics)
	if closing := f.ledger.Close(); closing != nil {
		err = errors.Join(err, fmt.Errorf("ledger: %w", closing))
	}
	return err
}

// reload takes what can change while the filter runs, and says what cannot.
func (f *filter) reload(m config.Milter, log *slog.Logger) error {
	if f == nil {
		if m.On() {
			log.Warn("the milter does not run; restart to start it")
		}
		return nil
	}
	if !m.On() {
		log.Warn("our_domains is empty now; the milter goes on as it is, restart to end it")
		return nil
	}
	policy, err := f.policy(m, log)
	if err != nil {
		return err
	}
	if changed := needRestart(f.started, m); len(changed) > 0 {
		log.Warn("changed, and in effect after a restart only", "keys", strings.Join(changed, " "))
	}
	return f.Use(policy)
}

// needRestart names the keys whose change the running filter does not take.
func needRestart(old, now config.Milter) (changed []string) {
	for _, key := range []struct {
		name string
		same bool
	}{
		{"listen", old.Listen == now.Listen},
		{"socket_mode", old.SocketMode == now.SocketMode},
		{"socket_owner", old.SocketOwner == now.SocketOwner},
		{"socket_group", old.SocketGroup == now.SocketGroup},
		{"ledger", old.Ledger == now.Ledger},
		{"ledger_keep", old.LedgerKeep == now.LedgerKeep},
		{"ledger_server", reflect.DeepEqual(old.LedgerServer, now.LedgerServer)},
		{"on_error", old.OnError == now.OnError},
		{"idle_timeout", old.IdleTimeout == now.IdleTimeout},
		{"max_connections", old.MaxConnections == now.MaxConnections},
		{"stop_timeout", old.StopTimeout == now.StopTimeout},
	} {
		if !key.same {
			changed = append(changed, "milter."+key.name)
		}
	}
	return changed
}

// policy is what the configuration and the keys say.
func (f *filter) policy(m config.Milter, log *slog.Logger) (milter.Policy, error) {
	signing, err := signersOf(m, time.Now())
	if errors.Is(err, keyring.ErrNoKey) {
		log.Warn("mail goes out unsigned", "error", err)
		err = nil
	}
	if err != nil {
		return milter.Policy{}, fmt.Errorf("milter: %w", err)
	}
	options := evidenceOptions(m, signing)
	options.Ledger, options.Uses = f.ledger, f.ledger
	if m.LedgerServer.On() {
		options.LedgerTime = m.LedgerServer.Budget.Std()
	}
	engine, err := evidence.New(options)
	if err != nil {
		return milter.Policy{}, fmt.Errorf("milter: %w", err)
	}
	return policyOf(m, signing, engine), nil
}

// policyOf is what the configuration says, with what was made of it.
func policyOf(m config.Milter, s signers, engine *evidence.Engine) milter.Policy {
	actions := func(suspect, legit, unknown string) milter.Actions {
		return milter.Actions{Suspect: milter.Action(suspect), Legit: milter.Action(legit), Unknown: milter.Action(unknown)}
	}
	return milter.Policy{
		Domains: m.OurDomains, Networks: m.Networks(), Evidence: engine,
		Token: s.token, BATV: s.batv, BATVDomains: m.BATVDomains,
		Actions: actions(m.Verdict.Suspect, m.Verdict.Legit, m.Verdict.Unknown),
		Listed:  m.Listed.Recipients, ListedActions: actions(m.Listed.Suspect, m.Listed.Legit, m.Listed.Unknown),
		RejectText: m.RejectText, NullSpamSenders: m.NullSpamSenders,
	}
}

// signers are made of the keys folder; without a key, they are nil.
type signers struct {
	token *token.Signer
	batv  *batv.Scheme
}

func signersOf(m config.Milter, now time.Time) (s signers, err error) {
	keys, err := keyring.Open(m.Keys).Usable(now, m.SignatureLife.Std())
	if err != nil {
		return s, err
	}
	tokens := make([]token.Key, len(keys))
	tags := make([]batv.Key, len(keys))
	for i, k := range keys {
		tokens[i] = token.Key{ID: k.ID, Secret: k.Secret("token")}
		tags[i] = batv.Key{Number: k.Number, Secret: k.Secret("batv")}
	}
	if s.token, err = token.New(days(m.SignatureLife), tokens...); err != nil {
		return s, err
	}
	s.batv, err = batv.New(batv.Options{Keys: tags, Lifetime: days(m.SignatureLife)})
	return s, err
}

// evidenceOptions are what the configuration says of ourselves.
func evidenceOptions(m config.Milter, s signers) evidence.Options {
	o := evidence.Options{
		Domains: m.OurDomains, NotCovered: m.NotCovered, Hosts: m.OurHosts, Networks: m.Networks(), NeverSends: m.NeverSends,
		Token: s.token, BATV: s.batv, WarmUp: m.WarmUp.Std(), MaxUses: m.MaxUses, MaxBounces: m.MaxBounces,
	}
	if m.DNSList != "" {
		o.Blocklist, o.BlocklistTimeout = dnslist.List{Zone: m.DNSList}, m.DNSTimeout.Std()
	}
	return o
}

func days(d config.Duration) int { return int(d.Std() / (24 * time.Hour)) }
