package main

import (
	"context"
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/backscatterd/backscatterd/config"
	"github.com/backscatterd/backscatterd/dsn"
	"github.com/backscatterd/backscatterd/milter/evidence"
	"github.com/backscatterd/backscatterd/milter/keyring"
	"github.com/backscatterd/backscatterd/milter/mailbox"
)

func (a *app) classifyCommand() *cobra.Command {
	var asJSON, watch bool
	cmd := &cobra.Command{
		Use:   "classify FILE ...",
		Short: "Say of messages whether they are bounces, and whether of our own mail, and why",
		Long: "Say of messages whether they are bounces, and whether of our own mail: the verdict that the milter gives,\n" +
			"with every piece of evidence that was looked at and what it said.\n\n" +
			"FILE is a message, an mbox, a Maildir, a folder of .eml files, or - for the standard input. A message is judged\n" +
			"as of when it came, by its newest Received field. Nothing is changed; without keys or a ledger, bounces are unknown.",
		Example: "  backscatterd classify bounce.eml\n  backscatterd classify --json ~/Maildir | jq -r 'select(.verdict == \"suspect\").file'\n" +
			"  backscatterd classify --watch ~/Maildir",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, paths []string) error {
			if watch && (len(paths) != 1 || !mailbox.IsMaildir(paths[0])) {
				return errors.New("--watch takes one Maildir, a folder with new and cur in it")
			}
			cfg, err := a.config()
			if err != nil {
				return err
			}
			c := &classifier{app: a, milter: cfg.Milter, json: asJSON}
			defer c.close()
			if watch {
				return failed(mailbox.Watch(cmd.Context(), paths[0], func(m mailbox.Message) error { return c.take(cmd.Context(), m) }))
			}
			return c.all(cmd.Context(), paths)
		},
	}
	cmd.Flags().BoolVar(&watch, "watch", false, "say it of what is new in a Maildir, and of what comes, until interrupted")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// classifier judges messages and prints what was found.
type classifier struct {
	app    *app
	milter config.Milter
	json   bool

	engine  *evidence.Engine
	made    time.Time // when the engine was
	release func()    // what the engine stands on
	warned  map[string]bool

	counts map[evidence.Verdict]int
	failed int
}

// all reads the mailboxes, one after the other.
func (c *classifier) all(ctx context.Context, paths []string) error {
	for _, path := range paths {
		err := mailbox.Read(ctx, path, c.app.input(ctx), func(m mailbox.Message) error { return c.take(ctx, m) })
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			c.fail(err)
		}
	}
	c.summary()
	if c.failed > 0 {
		return statusError{code: exitFailed}
	}
	return nil
}

func (c *classifier) fail(err error) {
	c.failed++
	fmt.Fprintf(c.app.stderr, "backscatterd: %s\n", cleanLines(err.Error()))
}

// warn says something once.
func (c *classifier) warn(err error) {
	if c.warned == nil {
		c.warned = make(map[string]bool)
	}
	if text := cleanLines(err.Error()); !c.warned[text] {
		c.warned[text] = true
		fmt.Fprintf(c.app.stderr, "backscatterd: warning: %s\n", text)
	}
}

// take judges one message. Only an engine that cannot be made is an error.
func (c *classifier) take(ctx context.Context, m mailbox.Message) error {
	if m.Err != nil {
		c.fail(m.Err)
		return nil
	}
	now := time.Now()
	if err := c.prepare(now); err != nil {
		return err
	}
	j := c.engine.JudgeStored(ctx, m.Data, m.Stored, now)
	if err := ctx.Err(); err != nil {
		return err
	}
	if c.counts == nil {
		c.counts = make(map[evidence.Verdict]int)
	}
	c.counts[j.Verdict]++
	if c.json {
		c.app.out.json(classifiedOf(m.Name, &j))
		return nil
	}
	c.print(m.Name, &j)
	return nil
}

// freshness is how old the copy of the ledger may get.
const freshness = time.Minute

// prepare makes the engine: for the first message, and anew now and then, since
// the ledger that is looked into is a copy.
func (c *classifier) prepare(now time.Time) error {
	if c.engine != nil && now.Sub(c.made) < freshness {
		return nil
	}
	c.close()
	signing, err := signersOf(c.milter, now)
	if errors.Is(err, keyring.ErrNoKey) {
		err = nil
	}
	options := evidenceOptions(c.milter, signing)
	if options.KeysError = err; err != nil {
		c.warn(err)
	}
	options.Blocklist = nil // which host handed it in is not known
	memory, release, err := lookIntoLedger(c.milter, now)
	c.release = release
	if err != nil {
		c.warn(err)
	}
	if memory != nil {
		options.Ledger = memory
	}
	c.engine, err = evidence.New(options)
	c.made = now
	return err
}

func (c *classifier) close() {
	if c.release != nil {
		c.release()
		c.release = nil
	}
}

// classified is a line of classify --json.
type classified struct {
	File             string           `json:"file"`
	Kind             dsn.Kind         `json:"kind"`
	Verdict          evidence.Verdict `json:"verdict"`
	Reasons          []evidence.Name  `json:"reasons"`
	FailedRecipients []string         `json:"failed_recipients"`
	Status           string           `json:"status"`
	Returned         returnedFields   `json:"returned"`
}

// returnedFields are what came back of the message that a bounce is about:
// addresses and the Message-ID without brackets, the date as it was.
type returnedFields struct {
	MessageID string `json:"message_id"`
	From      string `json:"from"`
	To        string `json:"to"`
	Date      string `json:"date"`
}

func classifiedOf(file string, j *evidence.Judgement) classified {
	r := &j.Report.Returned
	out := classified{
		File: file, Kind: j.Kind, Verdict: j.Verdict, Reasons: j.Reasons, FailedRecipients: j.Report.FailedRecipients(), Status: j.Report.Status,
		Returned: returnedFields{MessageID: j.Report.MessageID, From: addressesIn(r.Header("From")), To: addressesIn(r.Header("To")), Date: r.Header("Date")},
	}
	if out.Reasons == nil {
		out.Reasons = []evidence.Name{}
	}
	if out.FailedRecipients == nil {
		out.FailedRecipients = []string{}
	}
	return out
}

// addressesIn are the addresses of a field, without names; of a malformed field,
// the whole.
func addressesIn(field string) string {
	list, err := mail.ParseAddressList(field)
	if err != nil {
		return field
	}
	var out []string
	for _, a := range list {
		out = append(out, a.Address)
	}
	return strings.Join(out, ", ")
}
