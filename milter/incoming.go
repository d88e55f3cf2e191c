package milter

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/emersion/go-milter"

	"github.com/backscatterd/backscatterd/dsn"
	"github.com/backscatterd/backscatterd/milter/batv"
	"github.com/backscatterd/backscatterd/milter/evidence"
)

// judgeTimeout bounds the look-ups about one bounce.
const judgeTimeout = 10 * time.Second

// take deals with mail that is not of ours, at its end.
func (s *session) take(m *milter.Modifier) (milter.Response, error) {
	copies := s.msg.copies
	copies[tokenCopies] = 0 // a reply may well quote one: it harms nobody
	if err := s.removeCopies(m, copies); err != nil {
		return nil, err
	}
	if err := s.stripTags(m); err != nil {
		return nil, err
	}
	if s.msg.nullsSender() {
		s.filter.opts.Log.Info("spam: its sender is not to be told", "id", s.state.Macro("i"), "sender", s.msg.sender)
		if err := m.ChangeFrom("<>"); err != nil {
			return nil, fmt.Errorf("change the sender of spam: %w", err)
		}
	}
	if s.msg.body == nil {
		return nil, nil
	}
	return s.judge(m)
}

// nullsSender: the Policy says so, and the sender is a stranger.
func (m *message) nullsSender() bool {
	return m.rules.NullSpamSenders && m.spam && !m.trusted && m.sender != ""
}

// removeCopies removes what came of our headers, from the last one down: their
// numbers move up when one before them goes.
func (s *session) removeCopies(m *milter.Modifier, copies [3]int) error {
	for i, n := range copies {
		for ; n > 0; n-- {
			if err := m.ChangeHeader(n, ourHeaders[i], ""); err != nil {
				return fmt.Errorf("remove a forged header: %w", err)
			}
		}
	}
	return nil
}

// mailbox is the address without its tag, where it is one of ours and has one.
func (r *rules) mailbox(to string) (plain string, tagged bool) {
	tag, tagged := batv.Parse(to)
	return tag.Address, tagged && r.isOurs(tag.Address) && !strings.ContainsFunc(to, unicode.IsControl)
}

// hasTags reports whether a recipient of ours carries a BATV tag.
func (m *message) hasTags() bool {
	return slices.ContainsFunc(m.to, func(to string) bool {
		_, tagged := m.rules.mailbox(to)
		return tagged
	})
}

// stripTags gives recipients of ours back the address that has a mailbox,
// whoever made the tag. Mail to others keeps theirs.
func (s *session) stripTags(m *milter.Modifier) error {
	for _, to := range s.msg.to {
		plain, tagged := s.msg.rules.mailbox(to)
		if !tagged {
			continue
		}
		// In this order: where the MTA takes both for the same, it stays.
		if err := m.DeleteRecipient(to); err != nil {
			return fmt.Errorf("strip a recipient's tag: %w", err)
		}
		if err := m.AddRecipient(plain); err != nil {
			return fmt.Errorf("strip a recipient's tag: %w", err)
		}
	}
	return nil
}

// judge weighs the evidence about what may be a bounce, and acts on it.
func (s *session) judge(m *milter.Modifier) (milter.Response, error) {
	report, err := s.msg.body.finish()
	if err != nil || s.state.Incomplete() {
		report.Cut = true
	}
	if report.Kind == dsn.None {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), judgeTimeout)
	defer cancel()
	j := s.msg.rules.Evidence.Weigh(ctx, evidence.Case{Report: report, From: s.from(), Envelope: s.envelope(), Now: s.msg.began, Terse: true})
	if !tagged(j.Kind) {
		return nil, nil
	}
	action := s.action(j)
	s.filter.count(j.Kind, j.Verdict, action)
	s.log(j, action)
	return s.act(m, j, action)
}

// act does it, and answers.
func (s *session) act(m *milter.Modifier, j evidence.Judgement, action Action) (milter.Response, error) {
	switch action {
	case Accept:
		return nil, nil
	case Reject:
		return milter.NewResponseStr('y', "550 5.7.1 "+s.msg.rules.RejectText), nil
	case Discard:
		return milter.RespDiscard, nil
	}
	status := j.Status().String()
	if j.Verdict == evidence.Suspect {
		if err := m.AddHeader(evidence.FlagHeader, evidence.FlagValue); err != nil {
			return nil, fmt.Errorf("tag a bounce: %w", err)
		}
	}
	if err := m.AddHeader(evidence.StatusHeader, status); err != nil {
		return nil, fmt.Errorf("tag a bounce: %w", err)
	}
	if action == Quarantine {
		if err := m.Quarantine("backscatterd: " + status); err != nil {
			return nil, fmt.Errorf("quarantine a bounce: %w", err)
		}
	}
	return nil, nil
}

// tagged reports whether a kind is told of in headers: bounces, and what else
// answers mail that somebody sent.
func tagged(k dsn.Kind) bool {
	return k.IsBounce() || k == dsn.Disposition || k == dsn.AutoReply || k == dsn.Challenge
}

// action is what the policy says. Nothing harsher than a tag meets what is no
// bounce, or comes from a host or user of ours.
func (s *session) action(j evidence.Judgement) Action {
	to := make([]string, len(s.msg.to))
	for i, r := range s.msg.to {
		to[i] = stripTag(r)
	}
	a := s.msg.rules.action(j.Verdict, to)
	if a != Accept && (s.msg.trusted || !j.Kind.IsBounce()) {
		return Tag
	}
	return a
}

// envelope is what evidence is told of it.
func (s *session) envelope() evidence.Envelope {
	e := evidence.Envelope{
		Sender: s.msg.sender, SenderKnown: true, Recipients: s.msg.to,
		Client: s.state.Client().Addr, Auth: s.state.Macro("auth_authen"),
	}
	if e.Auth == "" && s.isLocal() {
		e.Auth = "a user of this host"
	}
	return e
}

func (s *session) from() string {
	for _, f := range s.msg.header {
		if strings.EqualFold(f.Name, "From") {
			return f.Value
		}
	}
	return ""
}

// log says what was found and done, and where to look further.
func (s *session) log(j evidence.Judgement, action Action) {
	ctx, log := context.Background(), s.filter.opts.Log
	if !log.Enabled(ctx, slog.LevelInfo) {
		return
	}
	log.LogAttrs(ctx, slog.LevelInfo, "bounce",
		slog.String("id", s.state.Macro("i")), slog.String("client", s.state.Client().String()),
		slog.Any("to", s.msg.to[:min(len(s.msg.to), 3)]), slog.Int("recipients", len(s.msg.to)),
		slog.String("verdict", string(j.Verdict)), slog.String("kind", string(j.Kind)), slog.Any("reasons", j.Reasons),
		slog.String("message_id", j.Report.MessageID), slog.String("action", string(action)))
}
