package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/backscatterd/backscatterd/config"
	"github.com/backscatterd/backscatterd/milter/keyring"
	"github.com/backscatterd/backscatterd/milter/ledger"
)

// keptLedger is a ledger that is written to, in a file or on a server.
type keptLedger interface {
	ledger.Ledger
	Close() error
}

// openLedger opens the ledger that the configuration names, to keep it.
func openLedger(m config.Milter, log *slog.Logger) (keptLedger, error) {
	secret, err := keyring.Open(m.Keys).Secret("ledger")
	if err != nil {
		return nil, fmt.Errorf("the ledger's secret: %w", err)
	}
	report := func(err error) {
		if errors.Is(err, ledger.ErrWell) {
			log.Info(err.Error())
			return
		}
		log.Error("ledger", "error", err)
	}
	if !m.LedgerServer.On() {
		return ledger.Open(ledger.Options{File: m.Ledger, Secret: secret, Keep: days(m.LedgerKeep), Report: report})
	}
	options, err := sharedOptions(m, secret)
	if err != nil {
		return nil, err
	}
	if options.Host = m.LedgerServer.Host; options.Host == "" {
		if options.Host, err = os.Hostname(); err != nil {
			return nil, fmt.Errorf("the name of this host: %w; set host in [milter.ledger_server]", err)
		}
	}
	options.Host = strings.ToLower(options.Host)
	options.Report = report
	return ledger.OpenShared(options)
}

// sharedOptions are those of one who only looks.
func sharedOptions(m config.Milter, secret []byte) (o ledger.SharedOptions, err error) {
	l := m.LedgerServer
	o = ledger.SharedOptions{
		Server: ledger.Server{
			Addresses: l.Addresses, Cluster: l.Cluster, SentinelMaster: l.SentinelMaster,
			Username: l.Username, SentinelUsername: l.SentinelUsername, Database: l.Database, Prefix: l.Prefix,
		},
		Secret: secret, Keep: days(m.LedgerKeep),
	}
	for _, host := range l.Hosts {
		o.Hosts = append(o.Hosts, strings.ToLower(host))
	}
	for _, p := range []struct {
		file string
		word *string
	}{{l.PasswordFile, &o.Server.Password}, {l.SentinelPasswordFile, &o.Server.SentinelPassword}} {
		if *p.word, err = firstLine(p.file); err != nil {
			return o, fmt.Errorf("password of the ledger's server: %w", err)
		}
	}
	if l.TLS {
		if o.Server.TLS, err = tlsOf(l); err != nil {
			return o, fmt.Errorf("TLS to the ledger's server: %w", err)
		}
	}
	return o, nil
}

// firstLine of a file that nobody else may read; "" for no file.
func firstLine(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	info, err := os.Stat(file)
	if err != nil {
		return "", err
	}
	if info.Mode().Perm()&0o007 != 0 {
		return "", fmt.Errorf("%s can be read by everybody; chmod o= %s", file, file)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimSuffix(line, "\r"), nil
}

func tlsOf(l config.LedgerServer) (*tls.Config, error) {
	c := &tls.Config{ServerName: l.TLSName, MinVersion: tls.VersionTLS12}
	if l.TLSCA != "" {
		text, err := os.ReadFile(l.TLSCA)
		if err != nil {
			return nil, err
		}
		if c.RootCAs = x509.NewCertPool(); !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s has no certificate in PEM form", l.TLSCA)
		}
	}
	if l.TLSCertificate != "" {
		own, err := tls.LoadX509KeyPair(l.TLSCertificate, l.TLSKey)
		if err != nil {
			return nil, err
		}
		c.Certificates = []tls.Certificate{own}
	}
	return c, nil
}

// ledgerStatusTime bounds asking a server: who asks for metrics does not wait longer.
const ledgerStatusTime = time.Second

// describe describes a ledger that this process keeps.
func describe(l keptLedger) (ledger.Status, error) {
	switch l := l.(type) {
	case *ledger.Embedded:
		return l.Status()
	case *ledger.Shared:
		ctx, cancel := context.WithTimeout(context.Background(), ledgerStatusTime)
		defer cancel()
		return l.Status(ctx)
	}
	return ledger.Status{}, fmt.Errorf("a ledger of the kind %T has no status", l)
}

// noteEvery is how often the status of a ledger on a server is written down, as
// one in a file does it.
const noteEvery = time.Minute

// noteStatus writes the status of a ledger on a server beside where one in a file
// would be, until ctx ends: the half that sweeps tells of it in the digest, and
// may not ask the server.
func noteStatus(ctx context.Context, l *ledger.Shared, m config.Milter, log *slog.Logger) {
	if !filepath.IsAbs(m.Ledger) {
		return
	}
	tick := time.NewTicker(noteEvery)
	defer tick.Stop()
	ready, cancel := context.WithTimeout(ctx, serverTime)
	_ = l.Ready(ready) // what is wrong, the status says
	cancel()
	told := false
	for running := true; running; {
		s, err := describe(l)
		if err != nil {
			s.Error = err.Error()
		}
		s.Running = ctx.Err() == nil
		if err := ledger.WriteStatus(m.Ledger, s); err != nil && !told {
			log.Warn("the ledger's status could not be written down for the digest", "error", err)
			told = true
		}
		if running = s.Running; running {
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	}
}

// serverTime is how long commands by hand wait for the ledger's server.
const serverTime = 5 * time.Second

// lookAtServer opens the shared ledger without becoming one of its hosts, and
// waits for the server. The caller must Close it.
func lookAtServer(ctx context.Context, m config.Milter) (*ledger.Shared, error) {
	secret, err := existingSecret(m)
	if err != nil {
		return nil, err
	}
	options, err := sharedOptions(m, secret)
	if err != nil {
		return nil, err
	}
	l, err := ledger.OpenShared(options)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, serverTime)
	defer cancel()
	if err := l.Ready(ctx); err != nil {
		l.Close() // it has nothing to say but the same
		return nil, err
	}
	return l, nil
}
