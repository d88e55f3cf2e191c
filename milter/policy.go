package milter

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/backscatterd/backscatterd/milter/batv"
	"github.com/backscatterd/backscatterd/milter/evidence"
	"github.com/backscatterd/backscatterd/milter/token"
)

// Action is what is done with a bounce. A later one in this list is harsher than
// those before it.
type Action string

// The actions.
const (
	Accept     Action = "accept"     // passed on as it came
	Tag        Action = "tag"        // ... with headers that say what it is
	Quarantine Action = "quarantine" // tagged, and held in the MTA's queue
	Reject     Action = "reject"     // refused with 550 5.7.1
	Discard    Action = "discard"    // taken and thrown away
)

var harshness = []Action{Accept, Tag, Quarantine, Reject, Discard}

// Actions are those for each verdict. An empty one is Tag.
type Actions struct{ Suspect, Legit, Unknown Action }

func (a Actions) of(v evidence.Verdict) Action {
	chosen := map[evidence.Verdict]Action{evidence.Suspect: a.Suspect, evidence.Legit: a.Legit, evidence.Unknown: a.Unknown}[v]
	if chosen == "" {
		return Tag
	}
	return chosen
}

func (a Actions) check() error {
	for _, one := range []Action{a.Suspect, a.Legit, a.Unknown} {
		if one != "" && !slices.Contains(harshness, one) {
			return fmt.Errorf("milter: unknown action %q", one)
		}
	}
	if a.Legit == Reject || a.Legit == Discard {
		return errors.New("milter: a legitimate bounce is not to be lost")
	}
	return nil
}

// Policy is what can change while the filter runs.
type Policy struct {
	// Domains are ours, Networks are where mail of ours comes from.
	Domains  []string
	Networks []netip.Prefix

	Evidence *evidence.Engine

	// Token and BATV sign mail of ours, BATV the senders of BATVDomains. Either
	// may be nil.
	Token       *token.Signer
	BATV        *batv.Scheme
	BATVDomains []string

	Actions Actions
	// Listed are recipients ("user@example.com", or "@example.com" for all of a
	// domain) for whose bounces ListedActions hold. Of the actions of several
	// recipients the mildest is taken.
	Listed        []string
	ListedActions Actions
	// RejectText follows 550 5.7.1.
	RejectText string

	// NullSpamSenders gives incoming mail with X-Spam-Flag: YES the null
	// envelope sender.
	NullSpamSenders bool
}

// rules is a Policy that can be asked.
type rules struct {
	Policy
	domains, batvDomains, listed map[string]bool
}

func compile(p Policy) (*rules, error) {
	if p.Evidence == nil {
		return nil, errors.New("milter: a policy needs an evidence engine")
	}
	if err := errors.Join(p.Actions.check(), p.ListedActions.check()); err != nil {
		return nil, err
	}
	p.RejectText = replyText(p.RejectText)
	return &rules{p, lowered(p.Domains), lowered(p.BATVDomains), lowered(p.Listed)}, nil
}

func lowered(names []string) map[string]bool {
	set := make(map[string]bool, len(names))
	for _, n := range names {
		set[strings.ToLower(n)] = true
	}
	return set
}

// replyText makes a line that can be said in SMTP. sendmail takes the text for a
// format (usrerr in srvrsmtp.c), so that a percent sign has to be doubled.
func replyText(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, s)
	if s = strings.TrimSpace(s); s == "" {
		s = "This bounce is not about mail that was sent from here"
	}
	return strings.ReplaceAll(s[:min(len(s), 400)], "%", "%%")
}

// isOurs reports whether an address is in one of our domains.
func (r *rules) isOurs(address string) bool { return r.domains[domainOf(address)] }

// action is the mildest of the actions for the recipients, tags stripped.
func (r *rules) action(v evidence.Verdict, recipients []string) Action {
	mildest := len(harshness) - 1
	for _, to := range recipients {
		to = strings.ToLower(to)
		actions := r.Actions
		if r.listed[to] || r.listed["@"+domainOf(to)] {
			actions = r.ListedActions
		}
		mildest = min(mildest, slices.Index(harshness, actions.of(v)))
	}
	if len(recipients) == 0 {
		return Tag
	}
	return harshness[mildest]
}

// domainOf is what follows the last @, in lower case, or "".
func domainOf(address string) string {
	i := strings.LastIndexByte(address, '@')
	if i < 0 {
		return ""
	}
	return strings.ToLower(strings.TrimSuffix(address[i+1:], "."))
}
